"""What is known of a contact: declared fields, their types, and the state before and after a change."""
