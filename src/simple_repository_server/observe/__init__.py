"""What happens, as values: components emit events, adapters make logs of them."""
