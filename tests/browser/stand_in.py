"""A stand-in for the service, for as long as it is not there: the page, and answers of a real model."""
from __future__ import annotations

import base64
import hashlib
import io
import re
import threading
import time
from pathlib import Path

import uvicorn
from PIL import Image, ImageOps
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

import vit_runtime as vit
from vit_runtime.pictures.preprocess import crop_box

PAGE = Path(vit.__file__).parent / "serving/page/index.html"


class StandIn:
    def __init__(self, models: dict, index=None, root: Path | None = None, token: str = "", notes=()):
        self.models, self.index, self.root, self.token, self.notes = models, index, root, token, list(notes)

    def describe(self, name):
        m = self.models[name]
        outs = list(m.artifact.outputs)
        return {"name": name, "model": m.artifact.model, "precision": m.artifact.precision, "file": m.path.name,
                "engine": "CPUExecutionProvider", "threads": m.threads, "outputs": outs,
                "classes": m.artifact.architecture.classes, "kind": m.probability_kind,
                "image_size": m.artifact.architecture.image_size,
                "index": {"pictures": len(self.index)} if self.index else None, "notes": self.notes}

    def denied(self, request):
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            given = "authorization" in request.headers
            return JSONResponse({"error": "the token is wrong" if given else "a token is needed"}, 401)
        return None

    def page(self, request):
        text = PAGE.read_text()
        def digest(tag):
            inner = re.search(f"<{tag}>(.*?)</{tag}>", text, re.S).group(1)
            return "sha256-" + base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        policy = (f"default-src 'none'; script-src '{digest('script')}'; style-src '{digest('style')}'; img-src 'self' blob: data:; "
                  "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    def list(self, request):
        return self.denied(request) or JSONResponse({"models": [self.describe(n) for n in self.models]})

    async def answer(self, request: Request):
        if (no := self.denied(request)) is not None:
            return no
        body = await request.body()
        from starlette.concurrency import run_in_threadpool
        return await run_in_threadpool(self.compute, request, body)

    def compute(self, request, body):
        start = time.perf_counter()
        q = request.query_params
        model = self.models[q.get("model") or next(iter(self.models))]
        wanted = {{"classify": "classes", "embed": "embedding", "attend": "map", "similar": "nearest"}[request.path_params["what"]],
                  *filter(None, q.get("also", "").split(","))}
        try:
            photo = ImageOps.exif_transpose(Image.open(io.BytesIO(body))).convert("RGB")
        except Exception:
            return JSONResponse({"error": "picture 1 is no picture that can be read: its first bytes are of no known format"}, 415)
        read = time.perf_counter()
        result = {"picture": "1", "size": list(photo.size)}
        if "classes" in wanted:
            result["predictions"] = [vars(p) for p in model.classify(photo, top_k=int(q.get("top", 5)))]
        vector = model.embed(photo)[0] if wanted & {"embedding", "nearest"} else None
        if "embedding" in wanted:
            result["embedding"] = [float(v) for v in vector]
        if "map" in wanted:
            result["map"] = {"values": model.attend(photo).values.tolist(), "box": list(crop_box(photo.size, model.artifact.preprocessing))}
        if "nearest" in wanted:
            names = self.index.names
            result["nearest"] = [{"picture": str(Path(m.name).name), "cosine": float(m.cosine),
                "thumbnail": f"/v1/thumbnails/{names.index(m.name)}?model={q.get('model')}"} for m in self.index.search(vector, top_k=6)]
        end = time.perf_counter()
        result["milliseconds"] = {"waiting": 0.2, "reading": 1e3 * (read - start), "model": 1e3 * (end - read)}
        return JSONResponse({"model": q.get("model"), "engine": "CPUExecutionProvider", "results": [result], "milliseconds": 1e3 * (end - start)})

    def thumbnail(self, request):
        if (no := self.denied(request)) is not None:
            return no
        photo = Image.open((self.root or Path("/")) / self.index.names[request.path_params["row"]])
        photo.thumbnail((192, 192))
        out = io.BytesIO()
        photo.convert("RGB").save(out, "JPEG")
        return Response(out.getvalue(), media_type="image/jpeg")

    def app(self):
        return Starlette(routes=[
            Route("/", self.page), Route("/v1/models", self.list), Route("/healthz", lambda r: Response("ok")),
            Route("/openapi.json", lambda r: JSONResponse({})),
            Route("/v1/thumbnails/{row:int}", self.thumbnail), Route("/v1/{what}", self.answer, methods=["POST"])])


class Running:
    def __init__(self, stand_in, port):
        self.server = uvicorn.Server(uvicorn.Config(stand_in.app(), host="127.0.0.1", port=port, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)

    def end(self):
        self.server.should_exit = True
        self.thread.join()
