"""A chat-completions server on this machine that replays what servers and judges do, for tests."""

import http.server
import json
import threading
from contextlib import contextmanager, suppress


def completion(text, *, finish="stop", **more):
    """A chat completion as servers send it."""
    message = {"role": "assistant", "content": text} | more
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "judge-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 320},
    }


def verdict(word, analysis="compared"):
    return json.dumps({"analysis": analysis, "correctness": word})


def send(handler, code, data, kind="application/json", **headers):
    handler.send_response(code)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(data)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def says(text, **more):
    """A server that always completes with this text."""
    return lambda handler, number, body: send(
        handler, 200, json.dumps(completion(text, **more)).encode()
    )


@contextmanager
def server(respond, tls=None):
    """Base URL and the requests seen; `respond(handler, number, body)` answers each."""
    seen, lock = [], threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(seen)
                seen.append({"path": self.path, "headers": dict(self.headers), "body": body})
            with suppress(OSError):  # the client has gone
                respond(self, number, body)
            self.close_connection = True

        def log_message(self, *_):
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass

    running = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        running.socket = tls.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}/v1", seen
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
