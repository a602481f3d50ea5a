"""What the main operations answer to the examples of what they are asked, for the documentation."""

from __future__ import annotations

from typing import Any

_VERSION = "20261122-63aca3ee-2"
_DOCUMENT: dict[str, Any] = {
    "title": "Our response to the inspection",
    "council": "Tarnholme",
    "published": "2026-05-04",
    "kind": "council_release",
    "url": None,
    "id": "f9136e199e90ea63",
    "path": None,
    "media_type": "text/plain",
    "pages": None,
    "sha256": "f9136e199e90ea63c3fe6ee477750520e4f3a9649edf29ef31adfe2fe32280af",
    "model": _VERSION,
    "segmentation": "1",
    "passages": [
        {
            "text": "We are sorry that too many children waited for help. Two more teams begin in May.",
            "start": 0,
            "end": 81,
            "page": None,
            "themes": ["thresholds"],
            "stances": ["apologetic"],
            "primary_stance": "apologetic",
            "scores": {
                "themes": {
                    "thresholds": 0.9412,
                    "care_planning": 0.0025,
                    "missing_children": 0.0002,
                    "leadership": 0.0673,
                },
                "stances": {"critical": 0.0349, "defensive": 0.1104, "apologetic": 0.8996, "supportive": 0.013},
            },
            "confident": False,
            "model": _VERSION,
        }
    ],
    "summary": {
        "passages": 1,
        "themes": {"thresholds": 1},
        "stances": {"apologetic": 1},
        "matrix": {"thresholds": {"apologetic": 1}},
        "sharpest": [0],
    },
}
_FOUND = _DOCUMENT["passages"][0] | {name: _DOCUMENT[name] for name in ("title", "council", "published", "kind", "url")}
# By the operation's id.
EXAMPLES: dict[str, Any] = {
    "classify": {
        "model": _VERSION,
        "results": [
            {
                "themes": [],
                "stances": ["critical"],
                "primary_stance": "critical",
                "scores": {
                    "themes": {
                        "thresholds": 0.0115,
                        "care_planning": 0.0063,
                        "missing_children": 0.0049,
                        "leadership": 0.0131,
                    },
                    "stances": {"critical": 0.91, "defensive": 0.0502, "apologetic": 0.0067, "supportive": 0.0112},
                },
                "confident": True,
                "model": _VERSION,
                "labels": {
                    "theme/thresholds": False,
                    "theme/care_planning": False,
                    "theme/missing_children": False,
                    "theme/leadership": False,
                    "stance/critical": True,
                    "stance/defensive": False,
                    "stance/apologetic": False,
                    "stance/supportive": False,
                },
            }
        ],
    },
    "score_document": _DOCUMENT,
    "get_document": _DOCUMENT,
    "find_passages": {
        "items": [
            _FOUND
            | {
                "id": "f9136e199e90ea63-0",
                "document": "f9136e199e90ea63",
                "position": 0,
                "created": "2026-11-22T04:11:30.626533Z",
            }
        ],
        "next": None,
    },
    "compare": {
        "sentence": "The report criticises care planning; the response apologises for care planning.",
        "themes": [
            {
                "theme": "thresholds",
                "report": {"critical": 0, "supportive": 0, "passages": []},
                "response": {"stances": {}, "passages": []},
                "verdict": "not_criticised",
            },
            {
                "theme": "care_planning",
                "report": {
                    "critical": 1,
                    "supportive": 0,
                    "passages": [
                        {
                            "text": "Plans for children in care drift. Leaders do not know how many visits are missed.",
                            "start": 0,
                            "end": 81,
                            "page": None,
                            "position": 0,
                            "stances": ["critical"],
                            "primary_stance": "critical",
                            "confident": False,
                        }
                    ],
                },
                "response": {
                    "stances": {"apologetic": 1},
                    "passages": [
                        {
                            "text": "We are sorry that plans drift, and have begun to put this right.",
                            "start": 0,
                            "end": 64,
                            "page": None,
                            "position": 0,
                            "stances": ["apologetic"],
                            "primary_stance": "apologetic",
                            "confident": True,
                        }
                    ],
                },
                "verdict": "apologised",
            },
            {
                "theme": "missing_children",
                "report": {"critical": 0, "supportive": 0, "passages": []},
                "response": {"stances": {}, "passages": []},
                "verdict": "not_criticised",
            },
            {
                "theme": "leadership",
                "report": {"critical": 0, "supportive": 0, "passages": []},
                "response": {"stances": {}, "passages": []},
                "verdict": "not_criticised",
            },
        ],
        "model": _VERSION,
    },
    "predict": [
        [
            {"label": "stance/critical", "score": 0.91},
            {"label": "stance/defensive", "score": 0.0502},
            {"label": "theme/leadership", "score": 0.0131},
            {"label": "theme/thresholds", "score": 0.0115},
            {"label": "stance/supportive", "score": 0.0112},
            {"label": "stance/apologetic", "score": 0.0067},
            {"label": "theme/care_planning", "score": 0.0063},
            {"label": "theme/missing_children", "score": 0.0049},
        ]
    ],
    "model_infer": {
        "model_name": "candour",
        "model_version": _VERSION,
        "id": "42",
        "outputs": [
            {
                "name": "scores",
                "datatype": "FP64",
                "shape": [1, 8],
                "data": [0.0115, 0.0063, 0.0049, 0.0131, 0.91, 0.0502, 0.0067, 0.0112],
            },
            {
                "name": "on",
                "datatype": "BOOL",
                "shape": [1, 8],
                "data": [False, False, False, False, True, False, False, False],
            },
            {"name": "primary_stance", "datatype": "BYTES", "shape": [1], "data": ["critical"]},
            {"name": "confident", "datatype": "BOOL", "shape": [1], "data": [True]},
        ],
    },
}
