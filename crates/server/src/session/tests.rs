use std::io::{BufRead, BufReader, pipe};
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// Both ends of a session; every conversation is given to `arrived`.
fn both() -> (Session, Session, Receiver<UnixStream>) {
    let (from_opener, to_acceptor) = pipe().expect("a pipe");
    let (from_acceptor, to_opener) = pipe().expect("a pipe");
    let (sender, arrived) = mpsc::channel();
    let acceptor = Session::acceptor(from_opener, to_opener, move || {
        let (own, theirs) = UnixStream::pair()?;
        sender.send(theirs).map_err(|_| io::Error::other("gone"))?;
        Ok(own)
    });
    (Session::opener(from_acceptor, to_acceptor), acceptor, arrived)
}

#[test]
fn conversations_are_told_apart_and_ends_arrive() {
    let (opener, _acceptor, arrived) = both();
    let mut one = opener.open().unwrap();
    let mut at_one = arrived.recv().unwrap();
    let two = opener.open().unwrap();
    let mut at_two = arrived.recv().unwrap();
    one.write_all(b"first\n").unwrap();
    at_two.write_all(b"second\n").unwrap();
    let line = |stream: &UnixStream| {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    };
    assert_eq!(line(&at_one), "first\n");
    assert_eq!(line(&two), "second\n");
    // Half an end: the other direction goes on.
    one.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    at_one.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    at_one.write_all(b"still\n").unwrap();
    assert_eq!(line(&one), "still\n");
}

#[test]
fn one_that_is_not_read_holds_up_no_other() {
    let (opener, _acceptor, arrived) = both();
    let mut greedy = opener.open().unwrap();
    let unread = arrived.recv().unwrap();
    greedy.set_nonblocking(true).unwrap();
    let mut sent = 0_usize;
    let mut stuck = 0;
    while stuck < 50 {
        match greedy.write(&[1; 4096]) {
            Ok(count) => (sent, stuck) = (sent + count, 0),
            Err(_) => {
                stuck += 1;
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
    assert!(sent >= WINDOW_BYTES, "{sent}");
    let mut other = opener.open().unwrap();
    let mut at_other = arrived.recv().unwrap();
    other.write_all(b"x").unwrap();
    let mut byte = [0; 1];
    at_other.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
    // All that was taken arrives once somebody reads.
    drop(greedy);
    let mut got = 0;
    let mut buffer = vec![0; 1 << 16];
    let mut unread = unread;
    while let Ok(count) = unread.read(&mut buffer)
        && count > 0
    {
        got += count;
    }
    assert_eq!(got, sent);
}

#[test]
fn when_the_pipes_end_everybody_learns_it() {
    let (opener, acceptor, arrived) = both();
    let mut one = opener.open().unwrap();
    let mut at_one = arrived.recv().unwrap();
    drop(acceptor);
    let mut rest = Vec::new();
    let _ = at_one.read_to_end(&mut rest);
    let _ = one.read_to_end(&mut rest);
    opener.wait();
    assert!(opener.is_over() && opener.open().is_err());
}

#[test]
fn a_conversation_that_is_refused_ends() {
    let (from_opener, to_acceptor) = pipe().unwrap();
    let (from_acceptor, to_opener) = pipe().unwrap();
    let _acceptor = Session::acceptor(from_opener, to_opener, || Err(io::Error::other("no agent")));
    let opener = Session::opener(from_acceptor, to_acceptor);
    let mut one = opener.open().unwrap();
    let mut rest = Vec::new();
    let _ = one.read_to_end(&mut rest);
    assert!(rest.is_empty() && !opener.is_over());
}

/// An agent answers and leaves while its client still speaks: the answer is not lost with it.
#[test]
fn the_last_words_of_who_leaves_without_listening_arrive() {
    let (opener, _acceptor, arrived) = both();
    for _ in 0..300 {
        let mut one = opener.open().unwrap();
        let mut at_one = arrived.recv().unwrap();
        one.write_all(b"not read").unwrap();
        let said = thread::spawn(move || {
            at_one.write_all(b"last words").unwrap();
            drop(at_one);
        });
        // It may be told already that nobody listens.
        let _ = one.write_all(b"not read either");
        said.join().unwrap();
        let mut heard = Vec::new();
        let _ = one.read_to_end(&mut heard);
        assert_eq!(String::from_utf8_lossy(&heard), "last words");
    }
}
