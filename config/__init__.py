"""The house: settings, the clock, the wire, the database and the broker that come with it, the processes."""
