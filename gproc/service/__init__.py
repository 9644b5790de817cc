"""The master's work for clients: their connections and their jobs."""
