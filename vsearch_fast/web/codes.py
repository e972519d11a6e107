"""The errors of the API by their codes, which stay as they are: what a program may go by.

Texts are for people, and may be worded anew; a code means the same for ever. The guide of the API
has this table, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """The HTTP status of an error, what it means, and what its cause reads like."""

    status: int
    meaning: str
    example: str


CODES: Mapping[str, Code] = {
    # The request
    "bad_request": Code(400, "The request cannot be read", "There was an error parsing the body"),
    "bad_argument": Code(
        400, "A value that makes no sense here", "k is 0, not a whole number above 0"
    ),
    "bad_filter": Code(
        400, "`where` or `filter` cannot be read", "The filter 'category' is not column=value"
    ),
    "bad_json": Code(400, "A JSON body that is none, or no object", "The body is no JSON object"),
    "bad_box": Code(400, "`box` is no box of this picture", "The box '1,2' is not x1,y1,x2,y2"),
    "no_locator": Code(
        400, "The model proposes no boxes", "The model of this catalogue has no file beside it"
    ),
    "one_query": Code(
        400, "Not exactly one picture is named", "The request holds image and id"
    ),
    "url_not_fetched": Code(
        400, "`url` is of a host that the server does not fetch from",
        "Pictures of shop.example are not fetched by this server",
    ),
    "url_failed": Code(
        400, "The picture of `url` could not be had", "shop.example answered with status 404"
    ),
    "bad_order": Code(
        400, "Tasks of a study are judged in their order", "Task 3 comes after task 2"
    ),
    "too_many_items": Code(
        400, "The catalogue is too large for this question",
        "The catalogue holds 3,000,000 pictures",
    ),
    "unauthorised": Code(401, "No token, or a wrong one", "This server wants a token"),
    "wrong_host": Code(
        403, "The server has another name", "This server is not known by the name 'evil.example'"
    ),
    "foreign_page": Code(
        403, "A page of another server sent the request", "The request comes from a page of 'null'"
    ),
    "not_found": Code(404, "Nothing is at this address", "There is nothing at this address"),
    "no_such_item": Code(
        404, "The catalogue has no such picture", "The catalogue holds no picture 'nope'"
    ),
    "no_picture": Code(
        404, "The item has no picture, or it is gone or damaged", "The item 'a' has no picture"
    ),
    "not_kept": Code(
        404, "The upload is no longer kept", "The picture of this link is no longer kept"
    ),
    "no_such_job": Code(404, "Nothing was computed yet", "Duplicates were not looked for yet"),
    "no_such_task": Code(404, "The study has no such task", "There is no task 99"),
    "no_such_method": Code(405, "The address takes other methods", "Method Not Allowed"),
    "too_slow": Code(
        408, "The request was not there in time", "The request was not there whole within 30 s"
    ),
    "compacted": Code(
        409, "The catalogue was compacted since; begin again", "`after` is of the catalogue as it "
        "was before it was compacted",
    ),
    "busy_job": Code(409, "Another such search is going on", "Duplicates are looked for already"),
    "too_large": Code(
        413, "The request is too large", "The request is larger than 20,000,000 bytes"
    ),
    "unreadable_picture": Code(
        415, "No picture that can be read", "lamp.txt is not an image of a format that is read here"
    ),
    "wrong_type": Code(
        415, "A body of another type than is read here", "The body is of type text/plain"
    ),
    "unknown_field": Code(
        422, "A field or parameter that there is not", "There is no field 'imgae'"
    ),
    "invalid_field": Code(422, "A field of another type or range", "k: Input should be above 0"),
    "busy": Code(429, "Too many wait; see Retry-After", "Too many requests are waiting already"),
    # The server
    "timeout": Code(503, "No answer in time", "There was no answer within 30 seconds"),
    "ending": Code(503, "The server is being ended", "The server is being ended"),
    "full": Code(503, "No connection, descriptor or room is left", "More connections are open"),
    "index_unavailable": Code(
        503, "The index is not there, or another one", "The index is not at its address any more"
    ),
    "unavailable": Code(
        503, "The index, the network, a device or the disk fails",
        "The index, the ratings file, the network, the device or the disk does not work now",
    ),
}  # fmt: skip
