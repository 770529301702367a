def test_info(vit_run, tiny_artifact):
    r = vit_run("info", tiny_artifact)
    assert r.exit_code == 0, r.stderr
    assert "tiny" in r.stdout
