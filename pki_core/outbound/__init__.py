"""Calls to other people's servers: one client, guarded against being sent where it should not go."""
