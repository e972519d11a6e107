"""What commands share: options, and how they end."""
