"""The master: makes the sockets and the shared memory, forks the children, and keeps them alive."""
