"""Configuration as code: a workspace's rules, templates and campaigns as YAML files in a folder.

The front door is `plans`: `dump_configuration`, `plan_configuration`, `apply_configuration`. `kinds` says what can be
written in files, `documents` how a file is spelled, `references` how they name one another.
"""
