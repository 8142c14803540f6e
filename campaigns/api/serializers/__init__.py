"""Serializers of the native API's campaigns and messages, a module a resource: they validate bodies and render answers."""
