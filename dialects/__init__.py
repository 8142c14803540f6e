"""The wire formats of other vendors, a package each; README.md says how to add one."""
