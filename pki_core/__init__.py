"""The core of pncpki: issuing, status and pools for ISO 15118, free of web and workflow frameworks."""
