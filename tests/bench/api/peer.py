"""What the api is timed against: FastAPI, uvicorn and python-multipart as a service of this kind uses them, the picture
into the same bucket under its content's address, a job's id for an answer. It makes no job: whatever comes after the
picture is stored is the api's handicap.

    S3_ENDPOINT=http://127.0.0.1:9000 S3_BUCKET=fovea uvicorn --app-dir tests/bench/api peer:app
"""

import hashlib
import os
import uuid
from contextlib import asynccontextmanager

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from fastapi import FastAPI, File, HTTPException, Request, UploadFile

BUCKET = os.environ["S3_BUCKET"]
MAX_BYTES = 10 * 1024 * 1024
CONNECTIONS = 64


@asynccontextmanager
async def lifespan(app: FastAPI):
    config = AioConfig(s3={"addressing_style": "path"}, max_pool_connections=CONNECTIONS)
    client = get_session().create_client(
        "s3", endpoint_url=os.environ["S3_ENDPOINT"], region_name="us-east-1", config=config
    )
    async with client as app.state.s3:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/upload", status_code=202)
async def upload(request: Request, file: UploadFile = File(...)) -> dict[str, str]:
    picture = await file.read()
    if len(picture) > MAX_BYTES:
        raise HTTPException(413, "too large")
    if not picture.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        raise HTTPException(415, "not a picture")
    key = f"uploads/peer/{hashlib.sha256(picture).hexdigest()}"
    await request.app.state.s3.put_object(Bucket=BUCKET, Key=key, Body=picture, ContentType="image/jpeg")
    return {"job_id": str(uuid.uuid4()), "status": "PENDING"}


@app.get("/presigned")
async def presigned(request: Request) -> list[str]:
    """Addresses that objects can be put to: how fast bare PutObject calls are."""
    sign = request.app.state.s3.generate_presigned_url
    objects = ({"Bucket": BUCKET, "Key": f"uploads/bare/{number:05}"} for number in range(4096))
    return [await sign("put_object", Params=parameters, ExpiresIn=86400) for parameters in objects]
