"""Who stands behind a bundle, and what is in it: signatures, provenance, policy, bill of materials.

All of it is outside of the bundle: signing never changes an id. `keys` (ed25519 key files), `dsse` (the
envelope), `provenance` (what is signed), `signature` (the envelopes beside a bundle), `policy` (whose
signature counts), `bom` (a bundle as a CycloneDX document).
"""
