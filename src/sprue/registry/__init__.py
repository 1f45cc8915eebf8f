"""Where bundles are published: a place that keeps files by digest, and refs that never change their meaning.

`protocol` (what a place must be able to do, and the URL that names one), `places/` (one file each, found
by URL scheme), `patience` (retries, resumption, time limits: wrappers around any place), `transfer`
(files, hashed while they move), `modelpack` (bundle <-> OCI index and CNCF ModelPack manifests),
`publish`, `pull`, `attachments` (signatures). docs/registries.md says what lies where.

Three callers build on these steps:
- `sprue publish` is `push` and then `commit_version`.
- A CI shard is `push` alone: its blobs, manifests and index lie there by digest and no ref names them. `sprue
  seal` reads them with `find` (by `sha256:<hex>`) and `pull_bundle`, and publishes one bundle of all.
- `sprue pull` is `find` (the manifest, proven), a choice of files (`select`, or a contract that looks at
  `Found.manifest`), and then `pull_bundle` or `pull_files`.
"""
