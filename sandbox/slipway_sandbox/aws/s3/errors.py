"""S3's errors: code, words and status, as docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html lists them."""

from __future__ import annotations

STATUS = {
    "AccessDenied": 403,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "ConditionalRequestConflict": 409,
    "InvalidPartNumber": 416,
    "InvalidRange": 416,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NotImplemented": 501,
    "NotModified": 304,
    "PreconditionFailed": 412,
    "SlowDown": 503,
}
MESSAGE = {
    "AccessDenied": "Access Denied",
    "BucketAlreadyExists": "The requested bucket name is not available. The bucket namespace is shared by all users of the "
    "system. Please select a different name and try again.",
    "BucketNotEmpty": "The bucket you tried to delete is not empty",
    "EntityTooLarge": "Your proposed upload exceeds the maximum allowed size",
    "EntityTooSmall": "Your proposed upload is smaller than the minimum allowed size",
    "IncompleteBody": "You did not provide the number of bytes specified by the Content-Length HTTP header",
    "InvalidBucketName": "The specified bucket is not valid.",
    "InvalidDigest": "The Content-MD5 you specified was invalid.",
    "InvalidPart": "One or more of the specified parts could not be found.  The part may not have been uploaded, "
    "or the specified entity tag may not match the part's entity tag.",
    "InvalidPartOrder": "The list of parts was not in ascending order. Parts must be ordered by part number.",
    "InvalidRange": "The requested range is not satisfiable",
    "MalformedTrailerError": "The request contained trailing data that was not well-formed or did not conform to our "
    "published schema.",
    "MalformedXML": "The XML you provided was not well-formed or did not validate against our published schema",
    "MethodNotAllowed": "The specified method is not allowed against this resource.",
    "MissingContentLength": "You must provide the Content-Length HTTP header.",
    "NoSuchBucket": "The specified bucket does not exist",
    "NoSuchKey": "The specified key does not exist.",
    "NoSuchUpload": "The specified upload does not exist. The upload ID may be invalid, or the upload may have been "
    "aborted or completed.",
    "NoSuchVersion": "The specified version does not exist.",
    "PreconditionFailed": "At least one of the pre-conditions you specified did not hold",
    "SlowDown": "Please reduce your request rate.",
    "XAmzContentSHA256Mismatch": "The provided 'x-amz-content-sha256' header does not match what was computed.",
    # What a bucket has not been given.
    "NoSuchBucketPolicy": "The bucket policy does not exist",
    "NoSuchCORSConfiguration": "The CORS configuration does not exist",
    "NoSuchConfiguration": "The specified configuration does not exist.",
    "NoSuchLifecycleConfiguration": "The lifecycle configuration does not exist",
    "NoSuchPublicAccessBlockConfiguration": "The public access block configuration was not found",
    "NoSuchTagSet": "The TagSet does not exist",
    "NoSuchWebsiteConfiguration": "The specified bucket does not have a website configuration",
    "ObjectLockConfigurationNotFoundError": "Object Lock configuration does not exist for this bucket",
    "OwnershipControlsNotFoundError": "The bucket ownership controls were not found",
    "ReplicationConfigurationNotFoundError": "The replication configuration was not found",
    "ServerSideEncryptionConfigurationNotFoundError": "The server side encryption configuration was not found",
}


class S3Error(Exception):
    """One S3 error; `fields` are the elements it has beside Code and Message, `headers` what goes with the answer."""

    def __init__(
        self, code: str, message: str = "", headers: dict[str, str] | None = None, **fields: object
    ) -> None:
        self.code, self.fields, self.headers = code, fields, headers or {}
        self.message = message or MESSAGE[code]
        missing = code.startswith("NoSuch") or code.endswith("NotFoundError")
        self.status = STATUS.get(code, 404 if missing else 400)
        super().__init__(f"{code}: {self.message}")
