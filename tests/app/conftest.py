import threading

import pytest
from hybrid_attention.app import PageServer


@pytest.fixture(scope="module")
def server():
    with PageServer(0) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()
