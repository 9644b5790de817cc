"""One program on one node: fetched, started, fed and listened to, and its end told."""
