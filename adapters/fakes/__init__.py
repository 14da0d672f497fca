"""What all fake platforms share: a server on a real socket, what may go wrong, webhooks."""
