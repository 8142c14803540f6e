"""Logs, metrics, request ids, traces and error reports."""
