"""VWO's real SDK, and a server for it."""

import http.server
import json
import threading

ACCOUNT, KEY = "123456", "0123456789abcdef0123456789abcdef"
QUIET = {"sdkMetaInfo": {"wasInitializedEarlier": True}}
DOCUMENT = {
    "version": 1,
    "accountId": int(ACCOUNT),
    "sdkKey": KEY,
    "campaigns": [],
    "features": [
        {
            "id": 1,
            "key": "flag",
            "status": "ON",
            "name": "flag",
            "type": "FEATURE_FLAG",
            "metrics": [{"id": 7, "type": "CUSTOM_GOAL", "identifier": "purchase"}],
            "rules": [],
        }
    ],
}


class Server(http.server.ThreadingHTTPServer):
    """Gives settings to the vendor's SDK, and keeps what it posts."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.settings = {}
        self.aliases = []  # of users that the gateway knows under another id
        self.posts = []
        self.lookups = []
        self.arrived = threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def wait_for(self, path):
        """Return the first post with events to a path."""

        def found():
            mine = (post for post in list(self.posts) if path in post[0])
            return next((post for post in mine if "vwo_sdkDebug" not in post[0] and post[2] != b'{"ev": []}'), None)

        with self.arrived:
            assert self.arrived.wait_for(lambda: found() is not None, timeout=20), self.posts
        return found()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/user-alias/"):
            self.server.lookups.append(self.path)
            self.answer(json.dumps(self.server.aliases).encode())
        else:
            self.answer(json.dumps(self.server.settings).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.arrived:
            self.server.posts.append((self.path, dict(self.headers), body))
            self.server.arrived.notify_all()
        self.answer(b"{}")

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
