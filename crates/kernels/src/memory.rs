//! Memory for programs that compute on large arrays.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which asks for large pages where that has to be asked for: Linux, by default, gives pages of
/// 4 KiB to who says nothing, and looking up thousands of them takes longer than reading what they hold. Large is from
/// 4 MiB on; nothing is rounded up.
///
/// For programs to name as their `#[global_allocator]`:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: percept_kernels::LargePages = percept_kernels::LargePages;
/// ```
pub struct LargePages;

/// Bytes from which on it is worth asking: within them lie whole pages of 2 MiB, wherever they begin.
const LARGE: usize = 4 << 20;

// SAFETY: all is done by the system's allocator; to ask for large pages changes nothing that a program sees.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, here and below.
        ask_for_large_pages(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        ask_for_large_pages(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) };
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        ask_for_large_pages(unsafe { System.realloc(start, layout, size) }, size)
    }
}

/// For the whole pages of `size` bytes; returns `start`.
fn ask_for_large_pages(start: *mut u8, size: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    if size >= LARGE && !start.is_null() {
        const PAGE: usize = 2 << 20;
        let skipped = start.align_offset(PAGE);
        let length = size.saturating_sub(skipped) / PAGE * PAGE;
        // SAFETY: these bytes are of the block that was just allocated; the advice leaves them as they are. Where it
        // cannot be followed it fails, and nothing is lost.
        unsafe { libc::madvise(start.wrapping_add(skipped).cast(), length, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (size, LARGE);
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_hold_what_was_written_as_they_grow() {
        for size in [1, LARGE - 1, LARGE, 3 * LARGE + 5] {
            let layout = Layout::from_size_align(size, 64).expect("a layout");
            // SAFETY: the size is not 0; blocks are used within their sizes and freed once, with their layouts.
            unsafe {
                let zeros = LargePages.alloc_zeroed(layout);
                assert!(!zeros.is_null() && (zeros as usize).is_multiple_of(64));
                assert_eq!((*zeros, *zeros.add(size - 1)), (0, 0));
                zeros.add(size - 1).write(7);
                let grown = LargePages.realloc(zeros, layout, 2 * size + LARGE);
                assert_eq!(*grown.add(size - 1), 7);
                grown.add(2 * size + LARGE - 1).write(9);
                LargePages.dealloc(grown, Layout::from_size_align(2 * size + LARGE, 64).expect("a layout"));
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn large_pages_are_given_where_the_system_has_them() {
        let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        if !setting.contains("[madvise]") && !setting.contains("[always]") {
            return;
        }
        let layout = Layout::from_size_align(16 * LARGE, 64).expect("a layout");
        // SAFETY: the block is used within its size and freed once, with its layout.
        unsafe {
            let start = LargePages.alloc(layout);
            start.write_bytes(1, 16 * LARGE);
            let maps = std::fs::read_to_string("/proc/self/smaps").expect("this process has maps");
            let advised = maps.lines().any(|line| line.starts_with("VmFlags:") && line.contains(" hg"));
            LargePages.dealloc(start, layout);
            assert!(advised, "no memory is marked for large pages");
        }
    }
}
