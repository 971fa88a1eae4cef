"""The subscription server, the only writer of the routing table."""
