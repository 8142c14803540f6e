"""The base of every app's admin: roles per workspace, forms that show refusals, confirmations."""
