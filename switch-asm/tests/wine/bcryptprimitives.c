/* Rust's library takes its random numbers from a DLL that Wine 8 does not have. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T len)
{
    return RtlGenRandom(buffer, (ULONG)len);
}
