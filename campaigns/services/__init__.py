"""What campaigns do: every write that touches more than one row, or the outside."""
