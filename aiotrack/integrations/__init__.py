"""aiotrack inside the frameworks that its users have: started and closed with the application, a user a request.

Each module is public: `aiotrack.integrations.fastapi`, `.starlette`, `.asgi`, `.litestar`, `.quart`, `.aiohttp`,
`.django`, `.flask`. None is imported before it is asked for, and each needs its framework.
"""
