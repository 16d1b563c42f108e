"""The server's sockets: connections, requests and datagrams, and what is written to them."""
