"""Serializers of the native API's campaigns and messages, a module a resource: of bodies and of answers."""
