"""Where models come from when no registry has them: hubs by their own APIs, addresses, this disk."""
