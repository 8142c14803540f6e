"""Sure Send's wire format: events of persons and companies."""
