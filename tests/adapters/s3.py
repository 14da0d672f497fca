"""An S3 of one bucket on a real socket: it checks every signature (SigV4), keeps objects as files,
takes uploads in parts, and misbehaves on demand."""

import hashlib
import hmac
import re
import secrets
import shutil
from collections import deque
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from adapters.fakes.behaviour import Behaviour
from adapters.fakes.server import Answer, FakeServer, Request
from api.settings import Bucket, Settings

BUCKET, FOLDER, REGION = "acme-files", "trunkline", "eu-west-3"
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

SKEW_MAX = timedelta(minutes=15)
PART_BYTES_MIN = 5 << 20  # All parts but the last.

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/s3/aws4_request,"
    r" ?SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


class S3Refusal(Exception):
    """An error in S3's form."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class FakeS3:
    """One bucket; its objects lie in `folder`, and parts that belong to none yet beside it."""

    def __init__(self, folder: Path) -> None:
        self.objects = folder / "objects"
        self.parts = folder / "parts"
        self.requests: list[Request] = []
        self._script: deque[tuple[str, Behaviour]] = deque()
        self._server = FakeServer(self._handle, body_bytes_max=64 << 20)

    async def __aenter__(self) -> "FakeS3":
        self.objects.mkdir(parents=True)
        self.parts.mkdir()
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    def reached(self) -> dict[str, Any]:
        """The settings that lead here."""
        return {
            "media_url": Bucket(BUCKET, FOLDER),
            "s3_endpoint": self._server.base_url,
            "s3_region": REGION,
            "s3_access_key_id": ACCESS_KEY_ID,
            "s3_secret_access_key": SECRET_ACCESS_KEY,
        }

    def settings(self, **more: Any) -> Settings:
        """The same, with others."""
        return Settings(**(self.reached() | more))

    def environment(self) -> dict[str, str]:
        """The same for another process."""
        return {
            "TRUNKLINE_MEDIA_URL": f"s3://{BUCKET}/{FOLDER}",
            "TRUNKLINE_S3_ENDPOINT": self._server.base_url,
            "TRUNKLINE_S3_REGION": REGION,
            "TRUNKLINE_S3_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "TRUNKLINE_S3_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        }

    def next_requests(self, *behaviours: Behaviour, to: str = "") -> None:
        """What the next requests of this method meet, one each."""
        self._script.extend((to, behaviour) for behaviour in behaviours)

    async def go_down(self) -> None:
        """Refuse connections until `come_back`."""
        await self._server.stop()

    async def come_back(self) -> None:
        """Serve again, at the same address."""
        await self._server.start()

    def _handle(self, request: Request) -> Answer:
        self.requests.append(request._replace(body=b""))
        for scripted in self._script:
            to, behaviour = scripted
            if to in request.method:
                self._script.remove(scripted)
                return behaviour(partial(self._answer, request))
        return self._answer(request)

    def _answer(self, request: Request) -> Answer:
        try:
            _check_signature(request)
            bucket, _, key = request.path.removeprefix("/").partition("/")
            if bucket != BUCKET:
                raise S3Refusal(404, "NoSuchBucket")
            if not re.fullmatch(r"[\w-]+(/[\w-]+)*", key, re.ASCII):
                raise S3Refusal(400, "InvalidArgument")
            return self._act(request, self.objects / key)
        except S3Refusal as refusal:
            body = f"<?xml version='1.0'?><Error><Code>{refusal.code}</Code></Error>".encode()
            return _answer(body, status=refusal.status)

    def _act(self, request: Request, path: Path) -> Answer:
        match request.method:
            case "PUT" if "uploadId" in request.query:
                return self._put_part(request)
            case "PUT":
                return _put(path, request.body)
            case "POST" if "uploads" in request.query:
                upload = self.parts / secrets.token_hex(8)
                upload.mkdir()
                return _answer(_xml("InitiateMultipartUploadResult", UploadId=upload.name))
            case "POST":
                return self._complete(request, path)
            case "DELETE" if "uploadId" in request.query:
                shutil.rmtree(self._upload(request))
                return _answer(b"", status=204)
            case "DELETE":
                path.unlink(missing_ok=True)
                return _answer(b"", status=204)
            case "GET" | "HEAD":
                return _get(request, path)
            case _:
                raise S3Refusal(405, "MethodNotAllowed")

    def _upload(self, request: Request) -> Path:
        upload = self.parts / re.sub(r"\W", "", request.query["uploadId"])
        if not upload.is_dir():
            raise S3Refusal(404, "NoSuchUpload")
        return upload

    def _put_part(self, request: Request) -> Answer:
        return _put(self._upload(request) / str(int(request.query["partNumber"])), request.body)

    def _complete(self, request: Request, path: Path) -> Answer:
        upload = self._upload(request)
        listed = re.findall(
            r"<Part><ETag>(.*?)</ETag><PartNumber>(\d+)</PartNumber></Part>", request.body.decode()
        )
        parts = [(upload / number, tag.replace("&quot;", '"')) for tag, number in listed]
        if not parts or any(not part.exists() or tag != _tag(part) for part, tag in parts):
            raise S3Refusal(400, "InvalidPart")
        if any(part.stat().st_size < PART_BYTES_MIN for part, _ in parts[:-1]):
            raise S3Refusal(400, "EntityTooSmall")
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = upload / "whole"
        with whole.open("wb") as file:
            for part, _ in parts:
                file.write(part.read_bytes())
        whole.replace(path)
        shutil.rmtree(upload)
        return _answer(_xml("CompleteMultipartUploadResult", ETag=_tag(path)))


def _put(path: Path, body: bytes) -> Answer:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return _answer(b"", ("ETag", _tag(path)))


def _get(request: Request, path: Path) -> Answer:
    if not path.is_file():
        raise S3Refusal(404, "NoSuchKey")
    size = path.stat().st_size
    about = [("ETag", _tag(path)), ("Last-Modified", "Sat, 21 Nov 2026 05:45:47 GMT")]
    first, last, status = 0, size - 1, 200
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if asked:
        first, last, status = int(asked[1]), min(int(asked[2] or last), last), 206
        if first >= size:
            raise S3Refusal(416, "InvalidRange")
        about.append(("Content-Range", f"bytes {first}-{last}/{size}"))
    with path.open("rb") as file:
        file.seek(first)
        body = file.read(last - first + 1)
    return _answer(body, *about, status=status)


def _answer(body: bytes, *headers: tuple[str, str], status: int = 200) -> Answer:
    length = () if status == 204 else (("Content-Length", str(len(body))),)
    return Answer(status=status, body=body, headers=(*headers, *length))


def _tag(path: Path) -> str:
    return f'"{path.stat().st_mtime_ns:x}-{path.stat().st_size:x}"'


def _xml(name: str, **values: str) -> bytes:
    inside = "".join(f"<{key}>{value}</{key}>" for key, value in values.items())
    return f"<?xml version='1.0' encoding='UTF-8'?><{name}>{inside}</{name}>".encode()


# AWS Signature Version 4.


def _check_signature(request: Request) -> None:
    said = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if said is None:
        raise S3Refusal(403, "AccessDenied")
    if said["key"] != ACCESS_KEY_ID:
        raise S3Refusal(403, "InvalidAccessKeyId")
    if said["region"] != REGION:
        raise S3Refusal(400, "AuthorizationHeaderMalformed")
    at = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs(datetime.now(UTC) - at) > SKEW_MAX or f"{at:%Y%m%d}" != said["date"]:
        raise S3Refusal(403, "RequestTimeTooSkewed")
    if request.headers["x-amz-content-sha256"] != hashlib.sha256(request.body).hexdigest():
        raise S3Refusal(400, "XAmzContentSHA256Mismatch")
    names = said["headers"].split(";")
    present = {name for name in request.headers if name == "host" or name.startswith("x-amz-")}
    if not present <= set(names):
        raise S3Refusal(403, "AccessDenied")
    expected = signature_of(request, names, at=at, region=REGION, secret=SECRET_ACCESS_KEY)
    if not hmac.compare_digest(expected, said["signature"]):
        raise S3Refusal(403, "SignatureDoesNotMatch")


def signature_of(
    request: Request, names: list[str], *, at: datetime, region: str, secret: str
) -> str:
    """What a request is signed with, over these of its headers."""
    query = sorted(
        (quote(key, safe="-_.~"), quote(value, safe="-_.~")) for key, value in request.query.items()
    )
    canonical = "\n".join(
        [
            request.method,
            quote(request.path, safe="/-_.~"),
            "&".join(f"{key}={value}" for key, value in query),
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in names),
            "",
            ";".join(names),
            request.headers["x-amz-content-sha256"],
        ]
    )
    scope = f"{at:%Y%m%d}/{region}/s3/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", f"{at:%Y%m%dT%H%M%SZ}", scope, hashed])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
