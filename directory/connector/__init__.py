"""The Cloud Connector: takes Microsoft's answers and passes them to a console.

It keeps no state, reads no rows and holds no credential, so that it can be mounted
in a console or served alone for many. What it knows of an attempt is the console's
signed request, carried by an encrypted cookie of the browser it began in. It never
sees a PKCE verifier, a secret or a token.
"""
