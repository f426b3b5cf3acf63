"""DICOM ultrasound in, DICOM SEG out; pydicom is the extra ``[dicom]``.

A file is parsed and decoded in :mod:`.worker`, a child process under limits of memory and time;
:mod:`.reading` starts it and believes nothing that it says unchecked.
"""
