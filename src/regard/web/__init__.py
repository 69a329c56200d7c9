"""The live page: a program of one's own machine that explains photos in a browser, and its JSON API.

All of it needs what the extra `web` brings.
"""

from regard.compat import import_optional

for _module in ("fastapi", "uvicorn", "python_multipart"):
    import_optional(_module, "web")
