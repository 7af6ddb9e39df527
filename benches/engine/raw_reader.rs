//! The reference for log streams: reads the engine's answer and does nothing with it.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

/// Reads a container's whole stored log off the engine's socket with blocking reads, as the agent asks
/// for it. Returns how many bytes came.
pub fn read_log(socket: &Path, container: &str) -> io::Result<u64> {
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "GET /containers/{container}/logs?timestamps=true&follow=false&stdout=true&stderr=true HTTP/1.1\r\n\
         Host: docker\r\nConnection: close\r\n\r\n"
    )?;
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(bytes),
            read => bytes += read as u64,
        }
    }
}
