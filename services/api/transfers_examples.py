"""Examples of the operations on imports and exports; see ``examples``."""

from typing import Any

_AT = "2026-11-24T09:00:00+00:00"
_CONSENT = {"basis": "written", "source": "paper forms, fair of May 2026", "wording": "2026-04", "at": _AT}
_MAPPING = {"email": "email", "name": "name", "company": "attribute:company"}

IMPORT: dict[str, Any] = {
    "id": 5, "list_id": 3, "filename": "contacts.csv", "state": "completed", "mode": "upsert", "format": "csv",
    "encoding": "cp932", "delimiter": ",", "mapping": None, "consent": {}, "dry_run": False, "size_bytes": 91234,
    "bytes_read": 91234, "rows_read": 1000, "rows_imported": 985, "rows_duplicate": 5, "rows_invalid": 10,
    "rows_exists": 0, "rows_unknown": 0, "rows_erased": 0, "rows_unsubscribed": 0, "rows_kept_unsubscribed": 2,
    "error": None, "created_at": _AT, "started_at": _AT, "finished_at": _AT, "errors_not_kept": 0,
    "progress": {"percent": 100.0, "rows_per_s": 20000, "remaining_s": None},
}  # fmt: skip
NEW_IMPORT: dict[str, Any] = {
    **IMPORT, "state": "queued", "bytes_read": 0, "rows_read": 0, "rows_imported": 0, "rows_duplicate": 0,
    "rows_invalid": 0, "rows_kept_unsubscribed": 0, "started_at": None, "finished_at": None,
    "progress": {"percent": 0.0, "rows_per_s": 0, "remaining_s": None},
}  # fmt: skip
_STARTED = {**NEW_IMPORT, "id": 6, "consent": _CONSENT, "mapping": _MAPPING}
_PREVIEW = {
    "id": 6, "format": "csv", "encoding": "utf-8", "delimiter": ",", "header": ["email", "name", "company"],
    "suggestions": [{"column": "email", "target": "email", "score": 1.0}],
    "mapping": _MAPPING,
    "rows": [
        {"line": 2,
         "contact": {"email": "a..b@docomo.ne.jp", "name": "田中 花子", "locale": "", "stage": "", "time_zone": "",
                     "consented_at": None, "attributes": {"company": "サンプル商事"}},
         "error": None},
    ],
    "problem": None,
}  # fmt: skip
_FILTER = {"list_id": 3}
_EXPORT = {
    "id": 8, "what": "contacts", "filter": _FILTER, "columns": ["email", "name", "attribute:company"], "format": "csv",
    "encoding": "utf-8-sig", "masked": False, "state": "completed", "rows": 985, "size_bytes": 61234,
    "characters_replaced": 0, "error": None, "created_at": _AT, "started_at": _AT, "finished_at": _AT,
    "expires_at": "2026-12-01T09:00:00+00:00",
}  # fmt: skip
_NEW_EXPORT = {
    **_EXPORT, "state": "queued", "rows": 0, "size_bytes": 0, "started_at": None, "finished_at": None,
    "expires_at": None,
}  # fmt: skip

TRANSFERS_REQUESTS: dict[str, Any] = {
    "startUploadedImport": {
        "mapping": _MAPPING,
        "mode": "upsert",
        "list_id": 3,
        "consent": _CONSENT,
    },
    "createExport": {
        "what": "contacts",
        "filter": _FILTER,
        "columns": ["email", "name", "attribute:company"],
        "format": "csv",
    },
}
TRANSFERS_ANSWERS: dict[str, Any] = {
    "previewImport": _PREVIEW,
    "startUploadedImport": _STARTED,
    "cancelImport": {**_STARTED, "state": "cancelled", "finished_at": _AT},
    "createExport": _NEW_EXPORT,
    "listExports": {"items": [_EXPORT], "next_cursor": None},
    "getExport": _EXPORT,
    "cancelExport": {**_NEW_EXPORT, "state": "cancelled", "finished_at": _AT},
    "downloadExport": "email,name,attribute:company\r\na..b@docomo.ne.jp,田中 花子,サンプル商事\r\n",
}
