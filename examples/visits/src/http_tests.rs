use super::*;

fn read(text: &str) -> Result<Request, Refusal> {
    read_request(&mut text.as_bytes())
}

fn request(method: &str, path: &str, close: bool) -> Request {
    Request { method: method.to_owned(), path: path.to_owned(), close }
}

#[test]
fn plain_requests_are_read() {
    for (text, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", request("GET", "/", false)),
        (
            "GET /up?x=1 HTTP/1.1\r\nhost:a\r\nConnection: x, Close\r\n\r\n",
            request("GET", "/up", true),
        ),
        ("GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", request("GET", "/b", false)),
        ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", request("GET", "/", false)),
        ("HEAD / HTTP/1.0\r\n\r\n", request("HEAD", "/", true)),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", request("GET", "/", false)),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", request("OPTIONS", "*", false)),
    ] {
        assert_eq!(read(text), Ok(expected), "{text}");
    }
}

#[test]
fn bodies_are_skipped_and_the_next_request_is_found() {
    let mut text: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                            GET /b HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(read_request(&mut text), Ok(request("POST", "/", false)));
    assert_eq!(read_request(&mut text), Ok(request("GET", "/b", false)));
}

#[test]
fn what_is_not_plainly_a_request_is_refused() {
    for text in [
        "\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/2\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET b HTTP/1.1\r\nHost: a\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /é HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        assert_eq!(read(text), Err(Refusal::Status(400)), "{text}");
    }
}

#[test]
fn limits_are_said_and_a_client_that_leaves_is_not_answered() {
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(20_000));
    assert_eq!(read(&long), Err(Refusal::Status(431)));
    let large = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n";
    assert_eq!(read(large), Err(Refusal::Status(413)));
    for text in [
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na",
    ] {
        assert_eq!(read(text), Err(Refusal::Gone), "{text}");
    }
}

/// A server on a free port for as long as the test runs.
fn server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        serve(&listener, Arc::new(|request: &Request| Answer::text(200, &request.path)))
    });
    address
}

fn exchange(stream: &mut TcpStream, text: &str, end: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut got = String::new();
    let mut buffer = [0; 1024];
    while !got.ends_with(end) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "closed after {got:?}");
        got.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    got
}

#[test]
fn one_connection_carries_many_requests() {
    let mut stream = TcpStream::connect(server()).unwrap();
    for _ in 0..3 {
        let got = exchange(&mut stream, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n/a");
        assert!(got.contains("content-length: 2\r\n") && got.contains("connection: keep-alive"));
    }
    let got = exchange(
        &mut stream,
        "HEAD /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "\r\n\r\n",
    );
    assert!(got.contains("content-length: 2\r\n"));
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0, "closed as asked");
}

#[test]
fn more_clients_than_places_are_all_served() {
    let address = server();
    // Each holds its place until it is dropped; the rest is served by the ones that close.
    let held: Vec<TcpStream> =
        (0..CONNECTIONS_CROWDED).map(|_| TcpStream::connect(address).unwrap()).collect();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mut stream = TcpStream::connect(address).unwrap();
                    exchange(&mut stream, "GET /b HTTP/1.1\r\nHost: a\r\n\r\n", "/b");
                }
            });
        }
    });
    drop(held);
}
