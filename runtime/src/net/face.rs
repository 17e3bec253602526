//! Methods and implementations that are the same for several types of sockets, each a struct with a field `socket`.

/// For all types: methods.
macro_rules! common_methods {
    () => {
        /// Another handle to the same socket, with a descriptor of its own. Mode and timeouts are shared.
        ///
        /// # Errors
        /// The operating system's: no descriptor is left.
        pub fn try_clone(&self) -> io::Result<Self> {
            let socket = self.socket.try_clone()?;
            Ok(Self { socket })
        }

        /// Lets what would wait fail with `WouldBlock` instead, for this handle and its clones; or lets it wait again.
        ///
        /// To Sisal's own waiting the mode makes no difference: its descriptors are in non-blocking mode anyway.
        /// Fibers need this no more than threads do.
        ///
        /// # Errors
        /// None; the signature is std's.
        pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
            self.socket.set_nonblocking(nonblocking);
            Ok(())
        }

        /// Takes the socket's pending error (`SO_ERROR`).
        ///
        /// # Errors
        /// The operating system's.
        pub fn take_error(&self) -> io::Result<Option<io::Error>> {
            self.socket.get().take_error()
        }
    };
}
pub(crate) use common_methods;

/// For what reads and writes.
macro_rules! timeout_methods {
    () => {
        /// Lets reads fail with `WouldBlock` after `timeout`; `None` lets them wait for ever. (Resolution: 1 ms, by
        /// std's clock: tokio's `pause` does not stop it. One that does not come costs next to nothing.)
        ///
        /// # Errors
        /// `InvalidInput` for a zero timeout.
        pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.socket.set_read_timeout(timeout)
        }

        /// Lets writes fail with `WouldBlock` after `timeout`, as [`set_read_timeout`](Self::set_read_timeout); `None` lets
        /// them wait for ever.
        ///
        /// # Errors
        /// `InvalidInput` for a zero timeout.
        pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.socket.set_write_timeout(timeout)
        }

        /// The read timeout.
        ///
        /// # Errors
        /// None; the signature is std's.
        pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.socket.read_timeout())
        }

        /// The write timeout.
        ///
        /// # Errors
        /// None; the signature is std's.
        pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.socket.write_timeout())
        }
    };
}
pub(crate) use timeout_methods;

/// For what speaks the internet protocols.
macro_rules! ttl_methods {
    () => {
        /// Sets `IP_TTL`: of what is sent, and of connections to come.
        ///
        /// # Errors
        /// The operating system's.
        pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
            self.socket.get().set_ttl(ttl)
        }

        /// `IP_TTL`.
        ///
        /// # Errors
        /// The operating system's.
        pub fn ttl(&self) -> io::Result<u32> {
            self.socket.get().ttl()
        }
    };
}
pub(crate) use ttl_methods;

/// Descriptors, std's and tokio's types, and `Debug`.
macro_rules! conversions {
    ($Ours:ident, $Std:ty, $Tokio:ty) => {
        impl AsFd for $Ours {
            /// The descriptor is in non-blocking mode, and has to stay so.
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.socket.get().as_fd()
            }
        }

        impl AsRawFd for $Ours {
            /// The descriptor is in non-blocking mode, and has to stay so.
            fn as_raw_fd(&self) -> RawFd {
                self.socket.get().as_raw_fd()
            }
        }

        impl IntoRawFd for $Ours {
            /// As the conversion into std's type.
            fn into_raw_fd(self) -> RawFd {
                self.socket.release().into_raw_fd()
            }
        }

        impl FromRawFd for $Ours {
            /// As the conversion from std's type.
            unsafe fn from_raw_fd(fd: RawFd) -> Self {
                // SAFETY: the caller gives an open descriptor away.
                unsafe { OwnedFd::from_raw_fd(fd) }.into()
            }
        }

        impl From<OwnedFd> for $Ours {
            /// As the conversion from std's type.
            fn from(fd: OwnedFd) -> Self {
                <$Std>::from(fd).into()
            }
        }

        impl From<$Ours> for OwnedFd {
            /// As the conversion into std's type.
            fn from(ours: $Ours) -> OwnedFd {
                ours.socket.release().into()
            }
        }

        impl From<$Std> for $Ours {
            /// Mode and timeouts go with it: if it was in non-blocking mode, this one gives `WouldBlock`. The
            /// descriptor is put into non-blocking mode, which std's clones of it share.
            fn from(io: $Std) -> Self {
                let socket = Socket::adopt(io);
                Self { socket }
            }
        }

        impl From<$Ours> for $Std {
            /// Mode and timeouts go with it. It blocks, unless [`set_nonblocking`](Self::set_nonblocking) says otherwise,
            /// or there are clones of Sisal's left: they need the non-blocking mode.
            fn from(ours: $Ours) -> $Std {
                ours.socket.release()
            }
        }

        impl TryFrom<$Tokio> for $Ours {
            type Error = io::Error;

            /// It waits, and has no timeouts.
            ///
            /// # Errors
            /// The operating system's: tokio's reactor does not let it go.
            fn try_from(io: $Tokio) -> io::Result<Self> {
                let socket = Socket::from_nonblocking(io.into_std()?);
                Ok(Self { socket })
            }
        }

        impl TryFrom<$Ours> for $Tokio {
            type Error = io::Error;

            /// Registers with tokio's current runtime; in a fiber there is one.
            ///
            /// # Errors
            /// Outside of a tokio runtime; the operating system's.
            ///
            /// # Panics
            /// In a tokio runtime without I/O.
            fn try_from(ours: $Ours) -> io::Result<$Tokio> {
                crate::net::face::in_tokio()?;
                <$Tokio>::from_std(ours.socket.release_nonblocking())
            }
        }

        impl fmt::Debug for $Ours {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.socket.get().fmt(f)
            }
        }
    };
}
pub(crate) use conversions;

/// `Read` and `Write` for a stream and for a reference to it, by its `read_some`, `read_bufs` and its socket.
macro_rules! stream_io {
    ($Stream:ident) => {
        impl Read for &$Stream {
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.read_some(buf)
            }

            #[track_caller]
            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.read_bufs(bufs)
            }
        }

        impl Write for &$Stream {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.socket.write(buf)
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                self.socket.write_vectored(bufs)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        impl Read for $Stream {
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.read_some(buf)
            }

            #[track_caller]
            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.read_bufs(bufs)
            }
        }

        impl Write for $Stream {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.socket.write(buf)
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                self.socket.write_vectored(bufs)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    };
}
pub(crate) use stream_io;

/// Fails where tokio's sockets would panic.
pub(crate) fn in_tokio() -> std::io::Result<()> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Ok(()),
        Err(error) => Err(std::io::Error::other(error)),
    }
}
