"""How far words of denial and doubt reach, said in sentences as they are dictated."""

from __future__ import annotations

from itertools import product

import pytest

from medvlp.text.mentions import read_report
from medvlp.text.sentences import split_sentences

STATEMENTS = {
    "No focal consolidation, effusion, or pneumothorax.": {
        "consolidation": "absent",
        "effusion": "absent",
        "pneumothorax": "absent",
    },
    "The lungs are clear without focal consolidation or effusion.": {"effusion": "absent", "consolidation": "absent"},
    "Heart size is normal, and there is no pleural effusion.": {"cardiomegaly": "absent", "effusion": "absent"},
    "There is no pneumothorax, although a small effusion is present.": {
        "pneumothorax": "absent",
        "effusion": "present",
    },
    "No pneumothorax or large effusion, but there is mild edema.": {
        "pneumothorax": "absent",
        "effusion": "absent",
        "edema": "present",
    },
    "There is no pneumothorax the lungs are hyperinflated.": {"pneumothorax": "absent", "hyperinflation": "present"},
    "no effusion or edema heart size mildly enlarged": {"edema": "absent", "cardiomegaly": "present"},
    "no effusion heart normal": {"effusion": "absent", "cardiomegaly": "absent"},
    "no consolidation effusion lung mass": dict.fromkeys(("consolidation", "effusion", "mass"), "absent"),
    "No effusion or heart enlarged.": {"effusion": "absent", "cardiomegaly": "absent"},
    "There is no pneumothorax, and right effusion persists.": {"pneumothorax": "absent", "effusion": "present"},
    "No consolidation and cardiomegaly unchanged.": {"consolidation": "absent", "cardiomegaly": "present"},
    "No: effusion, pneumothorax or edema. Left nodule.": {
        **dict.fromkeys(("effusion", "pneumothorax", "edema"), "absent"),
        "nodule": "present",
    },
    "There is no: 1. effusion 2. pneumothorax": {"effusion": "absent", "pneumothorax": "absent"},
    "No pneumothorax, left effusion decreased.": {"pneumothorax": "absent", "effusion": "present"},
    "Left pleural effusion without pneumothorax.": {"effusion": "present", "pneumothorax": "absent"},
    "Interval resolution of right pneumothorax with persistent small effusion.": {
        "pneumothorax": "absent",
        "effusion": "present",
    },
    "The right pleural effusion has resolved; left effusion persists.": {"effusion": "present"},
    "Pneumothorax has almost completely resolved.": {"pneumothorax": "present"},
    "No significant interval change in moderate cardiomegaly and small effusions.": {
        "cardiomegaly": "present",
        "effusion": "present",
    },
    "Stable cardiomegaly without overt edema.": {"cardiomegaly": "present", "edema": "absent"},
    "Bibasilar opacities, likely atelectasis, though pneumonia cannot be excluded.": {"pneumonia": "uncertain"},
    "Retrocardiac opacity which may represent atelectasis versus pneumonia.": {
        "atelectasis": "uncertain",
        "pneumonia": "uncertain",
    },
    "ET tube removed and NG tube placed.": {"endotracheal_tube": "absent", "nasogastric_tube": "present"},
    "Effusion resolved, atelectasis persists.": {"effusion": "absent", "atelectasis": "present"},
    "Effusion stable and pneumothorax resolved.": {"effusion": "present", "pneumothorax": "absent"},
    "Effusion small and pneumothorax not seen.": {"effusion": "present", "pneumothorax": "absent"},
    "ETT in place and chest tube removed.": {"endotracheal_tube": "present", "chest_tube": "absent"},
    "Edema worse and pneumothorax gone.": {"edema": "present", "pneumothorax": "absent"},
    "Small effusion and atelectasis resolved.": {"effusion": "absent", "atelectasis": "absent"},
    "No interval resolution of the effusion.": {"effusion": "present"},
    "Prominent thymus, not to be confused with a mass.": {"mass": "absent"},
    "Effusion unchanged from 3 days ago.": {"effusion": "present"},
    "Pneumonia 2 weeks ago.": {"pneumonia": "historical"},
    "No effusion seen mild edema present": {"effusion": "absent", "edema": "present"},
    "no pneumothorax ett 5 cm above carina": {"pneumothorax": "absent", "endotracheal_tube": "present"},
    "No pneumothorax central line or chest tube.": dict.fromkeys(
        ("pneumothorax", "central_line", "chest_tube"), "absent"
    ),
    "NG tube removed with ET tube unchanged.": {"nasogastric_tube": "absent", "endotracheal_tube": "present"},
    "Chest tube removal, small pneumothorax.": {"chest_tube": "absent", "pneumothorax": "present"},
    "RLL opacity ? PNA.": {"lung_opacity": "present", "pneumonia": "uncertain"},
    "No acute cardiopulmonary process.": {"no_finding": "present"},
    "There is no longer any evidence of pneumothorax.": {"pneumothorax": "absent"},
    "Previously noted nodule is not seen on today's exam.": {"nodule": "absent"},
    "Prior left lower lobe pneumonia has cleared.": {"pneumonia": "absent"},
    "History of pneumonia, now with cough.": {"pneumonia": "historical"},
    "Status post lobectomy for lung cancer.": {"lung_tumor": "historical"},
    "Please evaluate for pneumothorax.": {"pneumothorax": "conditional"},
    "Follow-up is advised to document resolution of the pneumonia.": {"pneumonia": "conditional"},
    "Repeat until complete clearing of the consolidation.": {"consolidation": "conditional"},
    "CT is recommended to exclude an underlying mass.": {"mass": "conditional"},
    "If there is clinical concern for pneumonia, repeat radiographs are advised.": {"pneumonia": "conditional"},
    "Effusion cannot be ruled out.": {"effusion": "uncertain"},
    "Opacity at the left base, pneumonia?": {"lung_opacity": "present", "pneumonia": "uncertain"},
    "Small left effusion ?loculated.": {"effusion": "present"},
    "Pneumothorax? Yes, small on the left.": {"pneumothorax": "present"},
    "Differential diagnosis: pneumonia, edema.": {"pneumonia": "uncertain", "edema": "uncertain"},
    "Low probability of pneumonia.": {"pneumonia": "uncertain"},
    "Neither the effusion nor the atelectasis has changed.": {"effusion": "present", "atelectasis": "present"},
    "Neither effusion has resolved.": {"effusion": "present"},
    "Left nodule, with atelectasis, pneumonia or both.": {
        "nodule": "present",
        "atelectasis": "uncertain",
        "pneumonia": "uncertain",
    },
    "Edema, infection, or a combination of both, and a nodule.": {
        "edema": "uncertain",
        "pneumonia": "uncertain",
        "nodule": "present",
    },
    "Nodule, opacity in the left or both lungs.": {"nodule": "present", "lung_opacity": "present"},
    "A small pneumothorax could be missed.": {"pneumothorax": "uncertain"},
    "Findings are not suggestive of pneumonia.": {"pneumonia": "absent"},
    "This is unlikely to represent pneumonia.": {"pneumonia": "absent"},
    "Pneumonia is considered unlikely.": {"pneumonia": "absent"},
    "Neg for PNA.": {"pneumonia": "absent"},
    "The appearance is incompatible with edema.": {"edema": "absent"},
    "A pneumothorax could not be identified.": {"pneumothorax": "absent"},
    "The appearance is not typical for edema.": {"edema": "absent"},
    "There is neither effusion nor pneumothorax.": {"effusion": "absent", "pneumothorax": "absent"},
    "Lungs are free of consolidation.": {"consolidation": "absent"},
    "Low lung volumes limit evaluation for edema.": {"edema": "conditional"},
    "Evaluation for pneumothorax is limited on this supine film.": {"pneumothorax": "conditional"},
    "Minimal blunting of the left costophrenic angle, which could reflect a tiny effusion or pleural thickening.": {
        "effusion": "uncertain",
        "pleural_thickening": "uncertain",
    },
    "Right IJ catheter tip in the SVC, no pneumothorax.": {"central_line": "present", "pneumothorax": "absent"},
    "ET tube and NG tube have been removed.": {"endotracheal_tube": "absent", "nasogastric_tube": "absent"},
    "Left chest tube has been removed without residual pneumothorax.": {
        "chest_tube": "absent",
        "pneumothorax": "absent",
    },
    "Interval extubation.": {"endotracheal_tube": "absent"},
    "No displaced rib fracture identified.": {"rib_fracture": "absent"},
    "Old healed right rib fractures.": {"rib_fracture": "present"},
    "There is a new small right apical pneumothorax following chest tube removal.": {
        "pneumothorax": "present",
        "chest_tube": "absent",
    },
    "No new consolidation.": {"consolidation": "absent"},
    "No evidence for active tuberculosis or pneumonia.": {"tuberculosis": "absent", "pneumonia": "absent"},
    "Not enlarged heart.": {"cardiomegaly": "absent"},
    "The heart is not enlarged.": {"cardiomegaly": "absent"},
    "The heart is at the upper limits of normal in size without edema.": {"edema": "absent"},
    "Cardiomediastinal silhouette is within normal limits.": {"cardiomegaly": "absent"},
    "Questionable nodule in the left apex.": {"nodule": "uncertain"},
    "A nodule is questioned in the left apex.": {"nodule": "uncertain"},
    "Probable small left effusion.": {"effusion": "uncertain"},
    "Opacity is compatible with pneumonia.": {"pneumonia": "present"},
    "No pleural effusion is seen on the right; a small effusion is seen on the left.": {"effusion": "present"},
    "Pleural effusions are small bilaterally, and there is no consolidation.": {
        "effusion": "present",
        "consolidation": "absent",
    },
    "No edema, effusion.": {"edema": "absent", "effusion": "absent"},
    "No effusions, pneumothorax. Heart enlarged.": {
        "effusion": "absent",
        "pneumothorax": "absent",
        "cardiomegaly": "present",
    },
    "Opacities have improved and no pneumothorax is present.": {"pneumothorax": "absent"},
    "There is hazy opacity at the base with no definite effusion.": {"effusion": "absent"},
    "Emphysema with no superimposed pneumonia.": {"emphysema": "present", "pneumonia": "absent"},
    "Pneumonia should be considered in the appropriate clinical setting.": {"pneumonia": "uncertain"},
    "Given fever, pneumonia is a consideration.": {"pneumonia": "uncertain"},
    "Worrisome for malignancy.": {"lung_tumor": "uncertain"},
    "Difficult to exclude a small effusion.": {"effusion": "uncertain"},
    "Without evidence of effusion.": {"effusion": "absent"},
    "Nondisplaced fracture of the left clavicle.": {"clavicle_fracture": "present"},
    "No fracture of the left clavicle.": {"clavicle_fracture": "absent"},
    "Fracture of the right clavicle is again seen.": {"clavicle_fracture": "present"},
    "No pneumothorax following line placement.": {"pneumothorax": "absent"},
    "Pacemaker leads are unchanged in position without pneumothorax.": {
        "pacemaker": "present",
        "pneumothorax": "absent",
    },
    "Resolving left lower lobe pneumonia.": {"pneumonia": "present"},
    "Mild pulmonary edema, improved from prior.": {"edema": "present"},
    "Edema has not worsened.": {"edema": "present"},
    "There is no increase in the left effusion.": {"effusion": "present"},
    "No change in right apical thickening or left effusion.": {"effusion": "present"},
    "No change in effusion or new pneumothorax.": {"effusion": "present", "pneumothorax": "absent"},
    "No significant interval change or new consolidation or edema.": {"consolidation": "absent", "edema": "absent"},
    "No change in the left effusion or any new nodule, but new edema.": {
        "effusion": "present",
        "nodule": "absent",
        "edema": "present",
    },
    "No change in old or new rib fractures.": {"rib_fracture": "present"},
    "No change in effusion or atelectasis.": {"effusion": "present", "atelectasis": "present"},
    "effusion\nno pneumothorax\nheart enlarged": {
        "effusion": "present",
        "pneumothorax": "absent",
        "cardiomegaly": "present",
    },
    "no pneumothorax\nor effusion\nis seen": {"effusion": "absent", "pneumothorax": "absent"},
    "Denies history of tuberculosis.": {"tuberculosis": "absent"},
    "Suspected aspiration pneumonia.": {"pneumonia": "uncertain"},
    "Concern is raised for pneumothorax.": {"pneumothorax": "uncertain"},
    "There is suggestion of a nodule.": {"nodule": "uncertain"},
    "The known left lung mass is not well seen.": {"mass": "present"},
    "The endotracheal tube is not visualized.": {"endotracheal_tube": "absent"},
    "Cannot exclude left effusion, but no right effusion.": {"effusion": "uncertain"},
    "No consolidation to suggest pneumonia, and no pneumothorax.": {
        "pneumonia": "absent",
        "consolidation": "absent",
        "pneumothorax": "absent",
    },
    "Absence of pneumothorax is confirmed.": {"pneumothorax": "absent"},
    "Small bilateral effusions with adjacent atelectasis, left greater than right, are unchanged.": {
        "effusion": "present",
        "atelectasis": "present",
    },
    "Calcified granuloma, no suspicious nodule.": {"granuloma": "present", "nodule": "absent"},
    "Pleural effusion, if present, is small.": {"effusion": "uncertain"},
    "No large effusion; trace effusion possible.": {"effusion": "uncertain"},
    "Lung volumes are low, accentuating the cardiac silhouette; no edema.": {"edema": "absent"},
    "Non-displaced fractures of the left fifth and sixth ribs.": {"rib_fracture": "present"},
    "5 mm non-calcified nodule in the right upper lobe.": {"nodule": "present"},
    "Non-calcified granuloma at the left apex.": {"granuloma": "present"},
    "Non-loculated right pleural effusion.": {"effusion": "present"},
    "Non-specific opacity at the left base.": {"lung_opacity": "present"},
    "Small non-tension pneumothorax.": {"pneumothorax": "present"},
    "Non-resolving consolidation.": {"consolidation": "present"},
    "Non-small cell lung cancer.": {"lung_tumor": "present"},
    "Non-enlarged heart is seen.": {"cardiomegaly": "absent"},
    "Non-visualization of the chest tube.": {"chest_tube": "absent"},
    "Pneumothorax: No. Effusion: No.": {"pneumothorax": "absent", "effusion": "absent"},
    "Consolidation (-), effusion (+).": {"consolidation": "absent", "effusion": "present"},
    "Effusion neg, consolidation present.": {"effusion": "absent", "consolidation": "present"},
    "Pneumothorax: no\nEffusion: no": {"pneumothorax": "absent", "effusion": "absent"},
    "Pneumothorax: no; effusion: small, on the left.": {"pneumothorax": "absent", "effusion": "present"},
    "Pneumothorax: no, effusion: no.": {"pneumothorax": "absent", "effusion": "absent"},
    "Chest tube: no pneumothorax.": {"chest_tube": "present", "pneumothorax": "absent"},
    "There is no pneumothorax, nor is there a pleural effusion.": {"pneumothorax": "absent", "effusion": "absent"},
    "Pneumothorax? No. Effusion? No. A nodule.": {"pneumothorax": "absent", "effusion": "absent", "nodule": "present"},
    "Neither the right nor the left lung shows consolidation.": {"consolidation": "absent"},
    "No more than a trace left effusion.": {"effusion": "present"},
    "The nasogastric tube has been replaced by a chest tube.": {"nasogastric_tube": "absent", "chest_tube": "present"},
    "Opacity, favor atelectasis over pneumonia.": {"atelectasis": "uncertain", "pneumonia": "uncertain"},
    "The interstitial markings are not increased.": {"interstitial_lung_disease": "absent"},
    "Heart size is not increased.": {"cardiomegaly": "absent"},
    "Pneumothorax isn't seen.": {"pneumothorax": "absent"},
    "There isn’t a pneumothorax.": {"pneumothorax": "absent"},
    "The lungs don't show consolidation.": {"consolidation": "absent"},
    "The effusion hasn't resolved.": {"effusion": "present"},
    "Pneumonia couldn't be excluded.": {"pneumonia": "uncertain"},
    "The heart isn't enlarged.": {"cardiomegaly": "absent"},
    "Pleural effusions small if any.": {"effusion": "uncertain"},
    "Pleural effusions are minimal, if any.": {"effusion": "uncertain"},
    "The effusion is small, if any, and the heart is enlarged.": {"effusion": "uncertain", "cardiomegaly": "present"},
    "If there is any left pneumothorax it is medial.": {"pneumothorax": "uncertain"},
    "If there is any concern for pneumothorax, repeat the film.": {"pneumothorax": "conditional"},
    "I think it is a pleural effusion.": {"effusion": "uncertain"},
    "This is not diagnostic of a consolidation.": {"consolidation": "uncertain"},
    "Skin folds should not be mistaken for pneumothorax.": {"pneumothorax": "absent"},
    "The patient denied any edema or pneumonia.": {"edema": "absent", "pneumonia": "absent"},
    "No history of known congestive heart failure.": {"edema": "absent"},
    "No adenopathy and positive for pneumonia.": {"lymphadenopathy": "absent", "pneumonia": "present"},
    "Not positive for pneumonia.": {"pneumonia": "absent"},
    "CT to rule out an embolism shows pneumonia.": {"pneumonia": "present"},
    "CT to r/o an embolism shows pneumonia.": {"pneumonia": "present"},
    "R/o pneumonia.": {"pneumonia": "conditional"},
    "Cannot r/o pneumonia.": {"pneumonia": "uncertain"},
    "This view does not r/o a rib fracture.": {"rib_fracture": "uncertain"},
    "A small effusion is hard to r/o.": {"effusion": "uncertain"},
    "CT to evaluate for pneumonia demonstrated no effusion.": {"pneumonia": "conditional", "effusion": "absent"},
    "Opacity, as seen on the previous CT examination, representing atelectasis.": {"atelectasis": "present"},
    "Previous CABG and dual-channel pacer.": {"pacemaker": "present"},
    "Previous left and right effusions.": {"effusion": "historical"},
    "Subclavian line ends at the right upper or mid atrium.": {"central_line": "present"},
    # Behind a denial without a verb
    "No pneumothorax or effusion, cardiac silhouette enlarged.": {"effusion": "absent", "cardiomegaly": "present"},
    "No pneumothorax, mediastinum widened": {"pneumothorax": "absent", "enlarged_cardiomediastinum": "present"},
    "No pneumothorax, enlarged nodes, effusion.": {"lymphadenopathy": "absent", "effusion": "absent"},
    "No pneumothorax, chest tube in place.": {"pneumothorax": "absent", "chest_tube": "present"},
    "No pneumothorax, left-sided pacemaker.": {"pneumothorax": "absent", "pacemaker": "present"},
    "No effusion, bibasilar atelectasis.": {"effusion": "absent", "atelectasis": "present"},
    "No effusion, 4 mm nodule in the right upper lobe.": {"effusion": "absent", "nodule": "present"},
    "No effusion, nodules larger than 4 mm.": {"effusion": "absent", "nodule": "absent"},
    "No pneumothorax, left nodule, or effusion.": {"pneumothorax": "absent", "nodule": "absent", "effusion": "absent"},
    "History of pneumonia, left effusion, and edema.": {"effusion": "historical"},
    "No suspicious nodules, only granulomas.": {"nodule": "absent", "granuloma": "present"},
    "no effusion mild cardiomegaly": {"effusion": "absent", "cardiomegaly": "present"},
    "no pneumothorax small left effusion": {"pneumothorax": "absent", "effusion": "present"},
    "There is no pneumothorax large pleural effusion.": {"pneumothorax": "absent", "effusion": "absent"},  # of Open-i
    "no pneumothorax small effusion or edema": {"pneumothorax": "absent", "effusion": "absent", "edema": "absent"},
    "Pneumothorax absent, effusion absent, heart enlarged.": {
        "pneumothorax": "absent",
        "effusion": "absent",
        "cardiomegaly": "present",
    },
    "Absent are effusion and pneumothorax.": {"effusion": "absent", "pneumothorax": "absent"},
    # What is denied stands before a clause of its own
    "There was an effusion which has resolved.": {"effusion": "absent"},
    "The effusion, which was large, is no longer seen.": {"effusion": "absent"},
    "The nodule that was seen on the prior CT is not seen today.": {"nodule": "absent"},
    "An effusion that was present before and a tube that has been removed.": {"effusion": "present"},
    "A nodule, which is not seen on the lateral view.": {"nodule": "present"},
    "An effusion which is beside a tube that is not seen.": {"effusion": "present", "support_devices": "absent"},
    "An opacity that was not evident on the earlier radiograph.": {"lung_opacity": "present"},
    "An effusion such that the left hemidiaphragm is not seen.": {"effusion": "present"},
    "CT failed to show a nodule.": {"nodule": "absent"},
    "Effusion doubtful.": {"effusion": "uncertain"},
    "There is little evidence of edema and hardly any effusion.": {"edema": "uncertain", "effusion": "uncertain"},
    "Unlikely to represent pneumonia, more likely atelectasis.": {"pneumonia": "absent", "atelectasis": "uncertain"},
    "Pneumonia is more likely than atelectasis.": {"pneumonia": "uncertain", "atelectasis": "uncertain"},
    "Opacity in the right base or pneumonia.": {"lung_opacity": "uncertain", "pneumonia": "uncertain"},
    "Evidence of prior granulomatous disease.": {"granuloma": "present"},
    "No prior granulomatous disease.": {"granuloma": "absent"},
    "Heart size is normal to mildly enlarged.": {"cardiomegaly": "uncertain"},
    "No enlarged axillary, mediastinal, or hilar lymph nodes.": {"lymphadenopathy": "absent"},
    "Nodule seen in the right or": {"nodule": "uncertain"},
    "Infection is less likely.": {"pneumonia": "uncertain"},
    "Pneumonia is felt to be less likely.": {"pneumonia": "uncertain"},
    "Effusion is small if any, beside a displaced fracture.": {"effusion": "uncertain", "fracture": "present"},
    "The study is negative for pneumonia.": {"pneumonia": "absent"},
    "The lungs are now cleared of consolidation.": {"consolidation": "absent"},
    "Pneumonia is not likely, but edema is present.": {"pneumonia": "absent", "edema": "present"},
    "Not likely pneumonia.": {"pneumonia": "absent"},
    "I doubt pneumonia.": {"pneumonia": "uncertain"},
    "A left effusion is doubtful.": {"effusion": "uncertain"},
    "No doubt there is a left effusion.": {"effusion": "present"},
    "Effusion cannot be reliably assessed.": {"effusion": "uncertain"},
    "A pneumothorax cannot be identified.": {"pneumothorax": "absent"},
    "No recurrence of the pneumothorax.": {"pneumothorax": "absent"},
    "The effusion has not reaccumulated.": {"effusion": "absent"},
    "No effusion, consolidation and the heart is enlarged.": {
        "effusion": "absent",
        "consolidation": "absent",
        "cardiomegaly": "present",
    },
    "No effusion, cardiomegaly and edema are stable.": {
        "effusion": "absent",
        "cardiomegaly": "present",
        "edema": "present",
    },
    "No effusion, lungs clear.": {"effusion": "absent", "consolidation": "absent"},
    "Increase in the effusion since the chest tube was removed.": {"effusion": "present", "chest_tube": "absent"},
    "CT is recommended for further evaluation of the nodule.": {"nodule": "present"},
    "Surveillance of this mass is advised.": {"mass": "present"},
    "Evaluation of the lungs for a nodule is limited.": {"nodule": "conditional"},
    "Further evaluation of the chest for metastases.": {"lung_tumor": "conditional"},
    "Skin fold mimicking pneumothorax.": {"pneumothorax": "absent"},
    "The lucency simulates a pneumothorax.": {"pneumothorax": "absent"},
    "No pneumothorax on the right where a chest tube is in place.": {"pneumothorax": "absent", "chest_tube": "present"},
    "no effusion or ptx cardiac silhouette mildly enlarged": {"pneumothorax": "absent", "cardiomegaly": "present"},
    "Edema is not thought to be present.": {"edema": "absent"},
    "Pneumonia less likely but possible.": {"pneumonia": "uncertain"},
    "There is no evidence that the pneumothorax has resolved.": {"pneumothorax": "present"},
    "no pneumothorax effusion unchanged": {"pneumothorax": "absent", "effusion": "present"},
    "no effusion right lower lobe opacity consistent with pneumonia": {
        "effusion": "absent",
        "lung_opacity": "present",
        "pneumonia": "present",
    },
    "No effusion or right lower lobe opacity.": {"effusion": "absent", "lung_opacity": "absent"},
    "Possible pneumonia, definite effusion.": {"pneumonia": "uncertain", "effusion": "present"},
    "Previous effusion has recurred.": {"effusion": "present"},
    "A nodule was seen on CT of 2019.": {"nodule": "historical"},
    "-ve for pneumothorax": {"pneumothorax": "absent"},
    "Pneumothorax -ve, effusion +ve": {"pneumothorax": "absent", "effusion": "present"},
    "(-) pneumothorax, (+) effusion": {"pneumothorax": "absent", "effusion": "present"},
    "(+) effusion (-) pneumothorax (-) edema": {"effusion": "present", "pneumothorax": "absent", "edema": "absent"},
    "Pneumothorax (-) effusion (+) edema (-)": {"pneumothorax": "absent", "effusion": "present", "edema": "absent"},
    "No pneumothorax after left chest tube placement.": {"pneumothorax": "absent", "chest_tube": "present"},
    "No effusion or pneumothorax post pacemaker placement.": {"pneumothorax": "absent", "pacemaker": "present"},
    "No pneumothorax is seen following placement of a PICC.": {"pneumothorax": "absent", "central_line": "present"},
    "No pneumothorax following chest tube removal.": {"pneumothorax": "absent", "chest_tube": "absent"},
    "No post-biopsy pneumothorax.": {"pneumothorax": "absent"},
    "No pneumonia or post-radiation fibrosis.": {"pneumonia": "absent", "fibrosis": "absent"},
    "No evidence of the following: edema, effusion.": {"edema": "absent", "effusion": "absent"},
    "Neg. for pneumonia.": {"pneumonia": "absent"},
    "CXR NEG. FOR PTX. HEART ENLARGED.": {"pneumothorax": "absent", "cardiomegaly": "present"},
    "Effusion neg. Heart enlarged.": {"effusion": "absent", "cardiomegaly": "present"},
    "PNEUMOTHORAX? NO. EFFUSION? YES.": {"pneumothorax": "absent", "effusion": "present"},
    "Resolution of the pneumothorax and development of an effusion.": {"pneumothorax": "absent", "effusion": "present"},
    "Removal of the ET tube and placement of a chest tube.": {"endotracheal_tube": "absent", "chest_tube": "present"},
    "No effusion or development of pneumothorax.": {"effusion": "absent", "pneumothorax": "absent"},
    "Atelectasis is favored over pneumonia.": {"atelectasis": "uncertain", "pneumonia": "uncertain"},
    "Not excluding pneumonia.": {"pneumonia": "uncertain"},
    "One cannot be certain that there is no pneumothorax.": {"pneumothorax": "uncertain"},
    "Scant evidence for pneumonia.": {"pneumonia": "uncertain"},
    # Denials of a denial
    "It is not true that there is no effusion.": {"effusion": "present"},
    "It is not the case that a pneumothorax is absent.": {"pneumothorax": "present"},
    "It would be wrong to say there is no consolidation.": {"consolidation": "present"},
    "The earlier statement that there is no fracture is incorrect.": {"fracture": "present"},
    "There is not no effusion.": {"effusion": "present"},
    "The left effusion is no longer without loculation.": {"effusion": "present"},
    "Without evidence of resolved pneumothorax.": {"pneumothorax": "present"},
    "Contrary to the wet read, there is no pneumothorax.": {"pneumothorax": "absent"},
    "It cannot be said that there is no pneumothorax.": {"pneumothorax": "uncertain"},
    "It is not certain that there is no fracture.": {"fracture": "uncertain"},
    # Doubt said of a clause
    "It is possible that there is a small effusion.": {"effusion": "uncertain"},
    "It may be that there is a small effusion.": {"effusion": "uncertain"},
    "It is unlikely that there is an effusion.": {"effusion": "absent"},
    "Pneumonia is possible given the left basal opacity.": {"pneumonia": "uncertain", "lung_opacity": "present"},
    "Age-indeterminate fracture of the right clavicle.": {"clavicle_fracture": "present"},
    "Radiographs are insensitive for a fracture.": {"fracture": "conditional"},
    "There used to be a pneumothorax.": {"pneumothorax": "historical"},
    "There is neither improvement nor worsening of the pneumonia.": {"pneumonia": "present"},
    "Pneumothorax in neither lung.": {"pneumothorax": "absent"},
    "No complication after placement of a chest tube.": {"chest_tube": "present"},
    "Pneumonia is a less likely consideration.": {"pneumonia": "uncertain"},
    "No new post-biopsy pneumothorax.": {"pneumothorax": "absent"},
    # Said of others, by the patient or of a CT
    "Mother with lung cancer.": {"lung_tumor": "historical"},
    "Father had lung cancer, exposure to a brother with TB.": {
        "lung_tumor": "historical",
        "tuberculosis": "historical",
    },
    "Effusion is denied.": {"effusion": "absent"},
    "Pneumonia was denied, an effusion is seen.": {"pneumonia": "absent", "effusion": "present"},
    "CT is suggested to better characterize the right hilar mass.": {"mass": "present"},
    "Pleural effusion is seen on neither side.": {"effusion": "absent"},
    "No consolidation and only mild edema.": {"consolidation": "absent", "edema": "present"},
}


@pytest.mark.parametrize(
    "sentence",
    ["The lungs are not clear.", "The right costophrenic angle is not clear.", "The left ribs are not intact."],
)
def test_what_is_not_normal_is_not_denied(sentence: str) -> None:
    assert not any(mention.presence == "absent" for mention in read_report(sentence))


@pytest.mark.parametrize("sentence", STATEMENTS)
def test_each_finding_is_asserted_as_a_reader_takes_it(sentence: str) -> None:
    said: dict[str, set[str]] = {}
    for mention in read_report(sentence):
        said.setdefault(mention.finding, set()).add(mention.presence)
    for finding, presence in STATEMENTS[sentence].items():
        assert presence in said.get(finding, set())
        assert "present" not in said[finding] - {presence}


def test_a_long_text_in_small_letters_is_read_to_its_end() -> None:  # no full stop ends a sentence there
    said = [each.presence for each in read_report("left effusion. no pneumothorax. " * 2_000)]
    assert said == ["present", "absent"] * 2_000


@pytest.mark.parametrize(
    ("sentence", "cue"),
    [
        ("No effusion.", "no"),
        ("Effusion is not seen.", "not seen"),
        ("Effusion or thickening.", "or"),
        ("Cannot exclude effusion.", "cannot exclude"),
        ("Effusion.", ""),
    ],
)
def test_a_mention_tells_which_words_decided(sentence: str, cue: str) -> None:
    assert read_report(sentence)[0].cue == cue


NONE_OF = ("pneumothorax", "effusion", "edema")


DENYING = ("No evidence of:", "No evidence of", "Negative for the following:", "There is no:", "No", "No:")
MARKED = (
    "- pneumothorax\n- effusion\n- edema",
    "1. Pneumothorax.\n2. Effusion.\n3. Edema.",
    "• Pneumothorax;\n• Effusion, large\n• Edema",
    "\n- Pneumothorax.\n\n- Effusion.\n\n- Edema.",
    "(a) Pneumothorax\n(b) Effusion\n(c) Edema",
    "a) Pneumothorax.\nb) Effusion.\nc) Edema.",
)
BARE = ("Pneumothorax\nEffusion\nEdema", "Pneumothorax.\nEffusion.\nEdema.", "Pneumothorax;\nEffusion;\nEdema.")
AFTER = ("Heart is enlarged.", "\nCardiomegaly.", "Stable cardiomegaly.")


def with_colon(openings: tuple[str, ...]) -> tuple[str, ...]:
    """Those behind which lines without marks are items, and not one wrapped sentence."""
    return tuple(opening for opening in openings if opening.endswith(":"))


@pytest.mark.parametrize(
    ("opening", "lines", "after"),
    [*product(DENYING, MARKED, (*AFTER, "heart enlarged")), *product(with_colon(DENYING), BARE, AFTER)],
)
def test_a_list_that_is_denied_is_denied_to_its_end_and_no_further(opening: str, lines: str, after: str) -> None:
    text = f"{opening}\n{lines}\n{after}"
    for written in (text, f"FINDINGS:\n{text}"):
        told = {each.finding: each.presence for each in read_report(written)}
        assert told == {**dict.fromkeys(NONE_OF, "absent"), "cardiomegaly": "present"}, written
    for flat in (" ".join(text.split()), *split_sentences(text)[:1]):  # as tables have it that lost their line breaks
        assert all(each.presence == "absent" for each in read_report(flat) if each.finding in NONE_OF), flat


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- No evidence of:\n  - effusion\n  - edema\n- Cardiomegaly.", ["absent", "absent", "present"]),
        ("No change in:\n- effusion\n- edema", ["present", "present"]),
        ("No prior. Findings:\n- effusion", ["present"]),
        ("No evidence of:\n- effusion\n- the heart is enlarged", ["absent", "present"]),
        ("No evidence of: effusion, edema.", ["absent", "absent"]),
        ("No evidence of: effusion; edema. Cardiomegaly.", ["absent", "absent", "present"]),
        ("No evidence of:\n- effusion. The heart is enlarged.\n- edema", ["absent", "present", "present"]),
        ("No evidence of:\n1. Effusion.\n2. Edema.\nCardiomegaly.", ["absent", "absent", "present"]),
        ("No evidence of:\n- Effusion.\n- Edema.\nCardiomegaly.", ["absent", "absent", "present"]),
        ("Prior film: No\n- effusion", ["present"]),
        ("Present:\n- effusion\nAbsent:\n- edema\n- pneumothorax", ["present", "absent", "absent"]),
        ("Pertinent negatives:\neffusion\nedema", ["absent", "absent"]),
        ("Findings not seen: 1. Effusion. 2. Edema.", ["absent", "absent"]),
        ("Effusion: absent\n- edema", ["absent", "present"]),
        ("Pneumothorax? No\n- effusion", ["absent", "present"]),
    ],
)
def test_what_is_no_item_of_a_denied_list_stays_what_it_is(text: str, told: list[str]) -> None:
    assert [each.presence for each in read_report(text)] == told


POSSIBLE = ("Possible:", "Possible", "Suspicion of:", "Differential:", "Differential includes:", "Cannot exclude:")


@pytest.mark.parametrize(
    ("opening", "lines"),
    [
        *product(POSSIBLE, ("- effusion\n- edema", "1. Effusion.\n2. Edema.", "(a) effusion\n(b) edema")),
        *product(with_colon(POSSIBLE), ("Effusion.\nEdema.",)),
    ],
)
def test_a_list_of_what_is_possible_is_uncertain_to_its_end_and_no_further(opening: str, lines: str) -> None:
    for text in (f"{opening}\n{lines}\nStable cardiomegaly.", f"FINDINGS:\n{opening}\n{lines}\n\nCardiomegaly."):
        told = {each.finding: each.presence for each in read_report(text)}
        assert told == {"effusion": "uncertain", "edema": "uncertain", "cardiomegaly": "present"}, text
