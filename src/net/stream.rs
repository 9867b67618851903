//! Connected TCP streams: breaking them, and noticing that the peer did. I/O.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::SockRef;

/// Makes the coming close a reset: the peer learns that something went wrong, and bytes not
/// yet delivered are thrown away.
pub fn reset_on_close(stream: &TcpStream) {
    // It can only fail on something that is no stream.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// What the kernel keeps of bytes that the peer has not taken: about so many, twice as much
/// with its own bookkeeping.
pub fn bound_send_buffer(stream: &TcpStream, bytes: usize) -> io::Result<()> {
    SockRef::from(stream).set_send_buffer_size(bytes)
}

/// What the kernel takes at once for sending, about, bytes; 0 when it is not known.
pub fn room(stream: &TcpStream) -> usize {
    let mut info = [0u32; libc::SK_MEMINFO_DROPS as usize + 1];
    let mut length = size_of_val(&info) as libc::socklen_t;
    let pointer = info.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `length` bytes to `info`, alive during the call.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            pointer,
            &mut length,
        )
    };
    match result {
        0 => {
            let queued = info[libc::SK_MEMINFO_WMEM_QUEUED as usize];
            info[libc::SK_MEMINFO_SNDBUF as usize].saturating_sub(queued) as usize
        }
        _ => 0,
    }
}

/// Whether the connection broke: a reset arrived, or a keepalive went unanswered. Does not
/// take the error away and does not wait.
pub fn is_broken(stream: &TcpStream) -> bool {
    let mut poll = libc::pollfd {
        fd: stream.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one pollfd, alive during the call.
    let ready = unsafe { libc::poll(&mut poll, 1, 0) };
    ready > 0 && poll.revents & libc::POLLERR != 0
}

/// Tells the peer that no more bytes will come. A peer that is gone already is no error: the
/// other direction will find out.
pub fn finish(stream: &TcpStream) -> io::Result<()> {
    match stream.shutdown(std::net::Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn there_is_room_until_the_kernel_takes_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_theirs, _) = listener.accept().unwrap();
        let first = room(&stream);
        assert!(first > 4096, "{first}");
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[0; 65_536]).is_ok() {}
        let last = room(&stream);
        assert!(last < first, "{last} of {first}");
    }
}
