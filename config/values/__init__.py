"""Single values: how e-mail addresses, phone numbers, dates and names are read and normalised."""
