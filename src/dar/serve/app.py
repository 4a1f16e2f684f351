"""The server's routes, as one application for any ASGI server."""

import logging
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from dar.serve import images_api, native_api, page
from dar.serve.engine import Engine
from dar.serve.errors import APIError
from dar.serve.middleware import REQUEST_ID, KeyCheck, RequestLog
from dar.serve.service import ServerOptions, Service

LOG = logging.getLogger(__name__)


def create_app(engine: Engine, options: ServerOptions | None = None) -> FastAPI:
    """Make the application.

    Args:
        engine: generates; whoever started it stops it.
        options: of the server.
    """
    service = Service(engine, options or ServerOptions())
    app = FastAPI(title="D-AR", docs_url=None, redoc_url=None, openapi_url=None)
    for router in (images_api.router(service), native_api.router(service), page.router(), _probes(service)):
        app.include_router(router)
    app.add_exception_handler(APIError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(RequestValidationError, _refuse_http)
    app.add_exception_handler(Exception, _fail)
    if service.options.api_key is not None:
        app.add_middleware(KeyCheck, key=service.options.api_key)
    if service.options.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.options.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    app.add_middleware(RequestLog)
    return app


def _probes(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @routes.get("/ready")
    async def ready() -> dict[str, str]:
        if not service.engine.ready or service.engine.draining:
            raise APIError(503, "the server is not ready: try again later", retry_after=1)
        return {"status": "ready"}

    @routes.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


async def _refuse(request: Request, error: Any) -> Response:
    return JSONResponse(error.body(), error.status, error.headers)


async def _refuse_http(request: Request, error: Any) -> Response:
    status = getattr(error, "status_code", 400)
    messages = {404: "there is no such address", 405: "this address does not take this method"}
    refusal = APIError(status, messages.get(status, "the request is not valid"))
    return JSONResponse(refusal.body(), status, getattr(error, "headers", None))


async def _fail(request: Request, error: Exception) -> Response:
    LOG.error("a request failed", exc_info=error)
    headers = {REQUEST_ID: request.scope[REQUEST_ID]}  # this answer is made outside of the log of requests
    return JSONResponse(APIError(500, "the server has made a mistake: it is in its log").body(), 500, headers)
