//! Urgent (out-of-band) data ends a read early; what comes after it is read all the same.

mod common_net;

use std::io::{Read, Write};

use common_net::{Place, looks, pair_of_std, pair_with_std, runtime, watchdog};
use rustix::net::{SendFlags, send};

/// Sends ordinary bytes around an urgent one, all of it before anybody reads.
fn send_around(mut far: &std::net::TcpStream) {
    far.write_all(b"before").unwrap();
    assert_eq!(send(far, b"!", SendFlags::OOB).unwrap(), 1);
    far.write_all(b"after").unwrap();
}

/// The pieces that reads give.
fn pieces(mut near: impl Read) -> Vec<String> {
    let mut buf = [0; 64];
    let mut pieces: Vec<String> = Vec::new();
    while pieces.concat().len() < "beforeafter".len() {
        let n = near.read(&mut buf).unwrap();
        pieces.push(String::from_utf8(buf[..n].to_vec()).unwrap());
    }
    pieces
}

fn as_std(place: Place) {
    let _dog = watchdog(format!("urgent data, {place:?}"));
    let (near, far) = pair_of_std();
    send_around(&far);
    let of_std = pieces(&near);
    assert_eq!(of_std.len(), 2, "the read ends at the mark: {of_std:?}");

    let runtime = runtime(1);
    let (near, far) = pair_with_std();
    send_around(&far);
    let (of_sisal, near) = place.run(&runtime, move || (pieces(&near), near));
    assert_eq!(of_sisal, of_std);

    // And again, now that the stream is registered; then in small pieces.
    send_around(&far);
    let (of_sisal, near) = place.run(&runtime, move || (pieces(&near), near));
    assert_eq!(of_sisal.concat(), "beforeafter");
    send_around(&far);
    let near = place.run(&runtime, move || {
        let mut all = [0; 11];
        for byte in &mut all {
            let mut two = [0; 2];
            assert_eq!((&near).read(&mut two[..1]).unwrap(), 1);
            *byte = two[0];
        }
        assert_eq!(&all, b"beforeafter");
        near
    });

    // Waits go on as before.
    let timeout = Some(std::time::Duration::from_millis(5));
    near.set_read_timeout(timeout).unwrap();
    let error = place.run(&runtime, move || (&near).read(&mut [0; 9]).unwrap_err());
    assert_eq!(looks(error), (std::io::ErrorKind::WouldBlock, Some(11)));
}

#[test]
fn in_a_fiber() {
    as_std(Place::Fiber);
}

#[test]
fn on_a_thread() {
    as_std(Place::Thread);
}
