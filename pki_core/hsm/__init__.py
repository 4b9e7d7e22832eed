"""Private keys: a PKCS#11 token, or for the dev environment encrypted files."""
