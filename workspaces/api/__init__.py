"""The base of all APIs (views, routers, pages, errors, OpenAPI), and the native API of workspaces themselves."""
