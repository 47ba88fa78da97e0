#include "textflag.h"

// The reaper is what pid 1 of a sandbox becomes: see reaper.go. It is copied
// out of this program into an ELF file of its own, so it uses no stack frame
// of Go's, no global, and no call.
//
// At the entry of a program the stack holds argc, argv[0], argv[1].

// func reaper()
TEXT ·reaper(SB), NOSPLIT|NOFRAME, $0
	MOVQ SP, R12
	SUBQ $64, R12
	MOVQ 16(SP), SI // argv[1]: the workload's pid in decimal
	XORL BX, BX

digit:
	MOVBLZX (SI), AX
	TESTL   AX, AX
	JZ      parsed
	SUBL    $48, AX
	IMUL3L  $10, BX, BX
	ADDL    AX, BX
	INCQ    SI
	JMP     digit

parsed:
	MOVL $157, AX // prctl(PR_SET_PDEATHSIG, SIGKILL)
	MOVL $1, DI
	MOVL $9, SI
	SYSCALL

wait:
	MOVL $61, AX  // wait4(-1, &status, 0, nil)
	MOVQ $-1, DI
	MOVQ R12, SI
	XORL DX, DX
	XORL R10, R10
	SYSCALL
	CMPL AX, BX
	JEQ  report
	CMPQ AX, $-10 // ECHILD: nothing to wait for
	JNE  wait
	JMP  leave

report:
	MOVL $1, AX // write(3, &status, 4)
	MOVL $3, DI
	MOVQ R12, SI
	MOVL $4, DX
	SYSCALL

leave:
	MOVL $231, AX // exit_group(0)
	XORL DI, DI
	SYSCALL
	BYTE $0xCC; BYTE $0xCC; BYTE $0xCC; BYTE $0xCC
	BYTE $0xCC; BYTE $0xCC; BYTE $0xCC; BYTE $0xCC
	RET

// func reaperCode() uintptr
TEXT ·reaperCode(SB), NOSPLIT, $0-8
	LEAQ ·reaper(SB), AX
	MOVQ AX, ret+0(FP)
	RET
