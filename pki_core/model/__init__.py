"""Plain types: identifiers, profiles, requests and outcomes, states, errors. Standard library only."""
