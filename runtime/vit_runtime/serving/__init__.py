"""Answers over HTTP: `vit-run serve`, its API, the open inference protocol and the page.

`server` listens, `app` knows the addresses, `guards` stands in front of all of them. A request's pictures are read by
`bodies` and `pictures`, answered by a model of the `shelf` at its `desk`, and put into words by `answers`.
"""
